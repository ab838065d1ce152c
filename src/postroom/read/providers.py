def language():
    return "en"
def refusals(name):
    return ()
def words(m, l):
    return m[l]
def provider(name):
    raise ValueError(name)
