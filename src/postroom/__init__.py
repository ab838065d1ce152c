"""Campaigns as code: a template-driven bulk mailer.

    import postroom

    campaign = postroom.load("campaign.yaml")
    campaign.preview()
    campaign.send(sandbox=True)
"""

__version__ = "0.1.0"
__all__ = ["Campaign", "PostroomError", "Result", "load"]


def __getattr__(name):
    # Loaded when first wanted: `postroom --help` imports this package too, and answers at once.
    if name in __all__:
        from postroom import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
