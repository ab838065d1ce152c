"""The journal's tables. Times are UTC seconds since the epoch; texts are bounded; no bodies and no secrets."""

VERSION = 2
# What a forgotten person's keys begin with. A key's cells are in small letters, so that no cell can pass for this.
FORGOTTEN = "FORGOTTEN:"
APPLICATION_ID = 0x706F7374  # "post": tells our file from any other SQLite database

TABLES = """
CREATE TABLE meta(
  version INTEGER NOT NULL,
  salt BLOB,                          -- 16 octets of its own for each journal: what a forgotten person's address is hashed with
  commits INTEGER NOT NULL DEFAULT 0  -- how many there were: tells an older copy from the journal that the last run left
);
CREATE TABLE campaign(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  edition TEXT NOT NULL,              -- '' where the campaign has none
  file TEXT,                          -- the campaign file, from the project's root
  began_at REAL,                      -- `now` of the templates: set when the first mail leaves
  content TEXT NOT NULL DEFAULT '{}', -- JSON: name -> SHA-256 of what makes the mail what it is
  duplicates INTEGER NOT NULL DEFAULT 0,
  UNIQUE(name, edition)
);
CREATE TABLE delivery(
  campaign INTEGER NOT NULL REFERENCES campaign(id),
  key TEXT NOT NULL,                  -- what makes the recipient the same one tomorrow
  variant TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL,
  reason TEXT,
  row_digest TEXT NOT NULL DEFAULT '',-- SHA-256 of all that was rendered for the row, Date apart
  date INTEGER,                       -- the Date of the message that left
  utc_offset INTEGER,                 -- the zone it was written in, seconds east of UTC
  message_id TEXT,
  may_have_arrived INTEGER NOT NULL DEFAULT 0, -- once uncertain: whatever leaves from then on is the same mail again
  repeat INTEGER NOT NULL DEFAULT 0,  -- 0: the first mail, an intended second one counts up
  attempts INTEGER NOT NULL DEFAULT 0, -- how often it left
  put_offs INTEGER NOT NULL DEFAULT 0, -- how often of these the relay put it off
  due_at REAL,
  relay TEXT,
  lease TEXT,
  address TEXT,                       -- the row's own address and its line in the table, as of the last mail: to name it to people
  line INTEGER,
  PRIMARY KEY(campaign, key, variant)
) WITHOUT ROWID;
CREATE INDEX delivery_open ON delivery(campaign, state, due_at) WHERE state NOT IN ('sent', 'pending');
CREATE TABLE attempt(                 -- append-only: each time that a message was handed to a relay and what came of it
  id INTEGER PRIMARY KEY,
  campaign INTEGER NOT NULL,
  key TEXT NOT NULL,
  variant TEXT NOT NULL DEFAULT '',
  number INTEGER NOT NULL,
  at REAL NOT NULL,
  state TEXT NOT NULL,
  phase TEXT,
  code INTEGER,
  enhanced TEXT,
  text TEXT
);
CREATE INDEX attempt_of ON attempt(campaign, key, variant, number);
CREATE TABLE address_result(          -- one for each envelope recipient that was refused or answered for several
  attempt INTEGER NOT NULL REFERENCES attempt(id),
  address TEXT NOT NULL,
  accepted INTEGER NOT NULL,
  code INTEGER,
  enhanced TEXT,
  text TEXT
);
CREATE INDEX address_result_of ON address_result(attempt);
CREATE TABLE account_use(             -- what counts for the account's quotas: one row for each departure
  account TEXT NOT NULL,
  at REAL NOT NULL,
  campaign INTEGER NOT NULL,
  key TEXT NOT NULL
);
CREATE INDEX account_use_of ON account_use(account, at);
CREATE TABLE suppression(             -- who must not be mailed again, since when and why
  list TEXT NOT NULL DEFAULT '',      -- a campaign's name, or '' for all
  address TEXT NOT NULL,              -- folded, or a salted hash once the person was forgotten
  reason TEXT NOT NULL,
  since REAL NOT NULL,
  PRIMARY KEY(list, address)
) WITHOUT ROWID;
"""

# From each earlier version to the next, as statements; run in one transaction, so that a journal is of one version or the other.
MIGRATIONS = {
    1: """
ALTER TABLE meta ADD COLUMN salt BLOB;
UPDATE meta SET salt = randomblob(16);
ALTER TABLE meta ADD COLUMN commits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN address TEXT;
ALTER TABLE delivery ADD COLUMN line INTEGER;
ALTER TABLE delivery ADD COLUMN put_offs INTEGER NOT NULL DEFAULT 0;
""",
}
