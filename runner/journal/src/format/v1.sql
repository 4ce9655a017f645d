CREATE TABLE header (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    json TEXT NOT NULL
) STRICT;
CREATE TABLE session (
    number INTEGER PRIMARY KEY,
    started INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    runner TEXT NOT NULL,
    first INTEGER NOT NULL,              -- the lowest seq that can be this session's
    durable INTEGER NOT NULL DEFAULT 0   -- 1: something must survive a power loss
) STRICT;
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    stage TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    name TEXT NOT NULL,
    begin TEXT NOT NULL,
    end TEXT,
    UNIQUE (stage, attempt)
) STRICT;
CREATE TABLE record (
    seq INTEGER PRIMARY KEY,             -- one count for records and events: the order in which they came
    attempt INTEGER NOT NULL,
    position INTEGER NOT NULL,
    at INTEGER NOT NULL,                 -- nanoseconds since 1970
    took INTEGER,
    kind TEXT NOT NULL,                  -- read, idempotent, once: an effect; denied; delivered; waiting
    what TEXT NOT NULL,
    subject TEXT NOT NULL,
    asked BLOB NOT NULL,
    request TEXT,
    seen TEXT,
    clock INTEGER,                       -- null: no answer yet
    until INTEGER,
    body TEXT,
    body_digest BLOB,                    -- the body is a file
    bytes BLOB,
    length INTEGER NOT NULL DEFAULT 0,   -- of the raw bytes
    digest BLOB,                         -- of raw bytes that do not stand in the row
    kept INTEGER NOT NULL DEFAULT 1,     -- 0: only length and digest are known
    denial TEXT,
    UNIQUE (attempt, position)
) STRICT;
CREATE TABLE body (
    digest BLOB PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT,                           -- of those that the journal itself looks for
    stage TEXT,
    attempt INTEGER,
    json TEXT NOT NULL
) STRICT;
CREATE INDEX event_finished ON event (seq) WHERE kind = 'run-finished';
CREATE INDEX event_connection ON event (seq) WHERE kind = 'connection';
CREATE TABLE approval (
    number INTEGER PRIMARY KEY,
    stage TEXT NOT NULL,
    approved INTEGER NOT NULL,
    person TEXT NOT NULL,
    note TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
CREATE TABLE approval_asked (
    stage TEXT PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT;
