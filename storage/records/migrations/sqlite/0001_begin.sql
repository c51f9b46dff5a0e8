-- Times are microseconds since 1970-01-01 UTC. What is called sealed is an SM4-GCM ciphertext that opens only at its own
-- table, column, row and key version. issuer is a unified social credit code, '' for the installation itself.

-- +goose Up
CREATE TABLE installation (
    name   TEXT  NOT NULL PRIMARY KEY,
    issuer TEXT  NOT NULL,
    value  BLOB  NOT NULL
) WITHOUT ROWID;

CREATE TABLE counters (
    issuer TEXT   NOT NULL,
    name   TEXT   NOT NULL,
    value  BIGINT NOT NULL,
    PRIMARY KEY (issuer, name)
) WITHOUT ROWID;

CREATE TABLE organisations (
    issuer  TEXT NOT NULL PRIMARY KEY,
    name    TEXT NOT NULL,
    name_en TEXT NOT NULL,
    kind    TEXT NOT NULL,
    region  TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE people (
    issuer   TEXT NOT NULL,
    id       TEXT NOT NULL,
    roles    TEXT NOT NULL, -- separated by spaces
    salt     BLOB NOT NULL,
    verifier BLOB NOT NULL,
    PRIMARY KEY (issuer, id)
) WITHOUT ROWID;

CREATE TABLE sheets (
    number      TEXT   NOT NULL PRIMARY KEY,
    issuer      TEXT   NOT NULL,
    state       TEXT   NOT NULL,
    business_id TEXT   NOT NULL DEFAULT '',
    licence     TEXT   NOT NULL DEFAULT '',
    reason      TEXT   NOT NULL DEFAULT '',
    drawn_at    BIGINT NOT NULL,
    used_at     BIGINT
) WITHOUT ROWID;
CREATE INDEX sheets_free ON sheets (issuer, number) WHERE state = 'allotted';
CREATE INDEX sheets_bound ON sheets (issuer, business_id) WHERE state = 'bound';

-- The row that every commit of a licence rewrites: kept small, its contents stand apart.
CREATE TABLE licences (
    ordinal        INTEGER PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,
    issuer         TEXT    NOT NULL,
    stage          INTEGER NOT NULL,
    epoch          BIGINT  NOT NULL,
    status         INTEGER NOT NULL,
    status_at      BIGINT  NOT NULL,
    replaced_by    TEXT    NOT NULL,
    park_reason    TEXT    NOT NULL,
    number         TEXT    NOT NULL UNIQUE,
    identifier     TEXT    NOT NULL UNIQUE,
    serial         BIGINT  NOT NULL,
    type           TEXT    NOT NULL,
    kind           TEXT    NOT NULL,
    business_id    TEXT    NOT NULL,
    replaces       TEXT    NOT NULL,
    uses_stock     INTEGER NOT NULL,
    status_index   BIGINT  NOT NULL UNIQUE,
    issue_time     BIGINT  NOT NULL,
    data_key       BLOB    NOT NULL, -- wrapped
    data_key_id    TEXT    NOT NULL,
    key_version    INTEGER NOT NULL,
    request_digest BLOB    NOT NULL,
    UNIQUE (business_id, issuer, kind, replaces)
);
CREATE INDEX licences_unfinished ON licences (ordinal) WHERE stage IN (1, 2);
CREATE INDEX licences_ended ON licences (ordinal) WHERE status <> 0;

-- What the intent fixed for ever, and what only the licence's own key opens.
CREATE TABLE contents (
    licence        INTEGER NOT NULL PRIMARY KEY REFERENCES licences (ordinal),
    issuer         TEXT    NOT NULL,
    issuer_name    TEXT    NOT NULL,
    issuer_region  TEXT    NOT NULL,
    type_version   INTEGER NOT NULL,
    request        BLOB    NOT NULL, -- sealed
    seed           BLOB    NOT NULL, -- sealed
    clerk          TEXT    NOT NULL,
    approver       TEXT    NOT NULL,
    handle         BLOB    NOT NULL,
    signing_time   BIGINT  NOT NULL,
    document_key   BLOB    NOT NULL,
    event_key      BLOB    NOT NULL,
    parts          TEXT    NOT NULL, -- separated by spaces
    format_version INTEGER NOT NULL,
    specimen       INTEGER NOT NULL,
    warnings       TEXT    NOT NULL, -- separated by spaces
    created        BIGINT  NOT NULL
);

CREATE TABLE signatures (
    licence    INTEGER NOT NULL PRIMARY KEY REFERENCES licences (ordinal),
    issuer     TEXT    NOT NULL,
    credential BLOB    NOT NULL, -- sealed
    abandoned  TEXT    NOT NULL  -- object keys separated by spaces
);

CREATE TABLE parts (
    licence  BIGINT  NOT NULL REFERENCES licences (ordinal),
    position INTEGER NOT NULL,
    issuer   TEXT    NOT NULL,
    part     TEXT    NOT NULL,
    rs       BLOB    NOT NULL,
    sm3      BLOB    NOT NULL,
    size     BIGINT  NOT NULL,
    address  TEXT    NOT NULL,
    nonce    BLOB    NOT NULL,
    PRIMARY KEY (licence, position)
) WITHOUT ROWID;

CREATE TABLE search_tags (
    field   TEXT   NOT NULL,
    tag     BLOB   NOT NULL,
    licence BIGINT NOT NULL REFERENCES licences (ordinal),
    issuer  TEXT   NOT NULL,
    PRIMARY KEY (field, tag, licence)
) WITHOUT ROWID;
CREATE INDEX search_tags_of ON search_tags (licence);

CREATE TABLE events (
    ordinal   INTEGER PRIMARY KEY,
    licence   BIGINT  NOT NULL REFERENCES licences (ordinal),
    issuer    TEXT    NOT NULL,
    sequence  INTEGER NOT NULL,
    kind      TEXT    NOT NULL,
    hash      BLOB    NOT NULL UNIQUE,
    bytes     BLOB    NOT NULL,
    at        BIGINT  NOT NULL,
    actor     TEXT    NOT NULL,
    log_index BIGINT,
    refusal   TEXT    NOT NULL
);
CREATE UNIQUE INDEX events_of ON events (licence, sequence) WHERE refusal = '';
CREATE INDEX events_pending ON events (ordinal) WHERE log_index IS NULL AND refusal = '';
CREATE INDEX events_at ON events (at);

CREATE TABLE notes (
    event       INTEGER NOT NULL PRIMARY KEY REFERENCES events (ordinal),
    licence     BIGINT  NOT NULL REFERENCES licences (ordinal),
    issuer      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    key_version INTEGER NOT NULL,
    text        BLOB    NOT NULL -- sealed
);
CREATE INDEX notes_of ON notes (licence);

CREATE TABLE deliveries (
    ordinal  INTEGER PRIMARY KEY,
    licence  BIGINT  NOT NULL REFERENCES licences (ordinal),
    issuer   TEXT    NOT NULL,
    receiver TEXT    NOT NULL,
    topic    TEXT    NOT NULL,
    due      BIGINT  NOT NULL,
    held     INTEGER NOT NULL,
    done_at  BIGINT
);
CREATE INDEX deliveries_due ON deliveries (due) WHERE done_at IS NULL AND held = 0;

CREATE TABLE audit (
    ordinal  INTEGER PRIMARY KEY,
    issuer   TEXT   NOT NULL, -- the acting organisation
    at       BIGINT NOT NULL,
    person   TEXT   NOT NULL,
    what     TEXT   NOT NULL,
    why      TEXT   NOT NULL,
    whence   TEXT   NOT NULL,
    licence  TEXT   NOT NULL, -- id
    fields   TEXT   NOT NULL, -- separated by line feeds
    spool    TEXT,            -- id of the spooled row that it came from
    sequence BIGINT,          -- in the chain, null until sealed
    hash     BLOB
);
CREATE UNIQUE INDEX audit_spooled ON audit (spool) WHERE spool IS NOT NULL;
CREATE UNIQUE INDEX audit_chain ON audit (sequence) WHERE sequence IS NOT NULL;
CREATE INDEX audit_unsealed ON audit (ordinal) WHERE sequence IS NULL;
CREATE INDEX audit_of ON audit (licence) WHERE licence <> '';

CREATE TABLE log_head (
    issuer TEXT   NOT NULL PRIMARY KEY,
    size   BIGINT NOT NULL,
    body   BLOB
) WITHOUT ROWID;

CREATE TABLE log_entries (
    idx    INTEGER NOT NULL PRIMARY KEY,
    issuer TEXT    NOT NULL,
    hash   BLOB    NOT NULL UNIQUE,
    bytes  BLOB    NOT NULL
);

CREATE TABLE log_state (
    name   TEXT NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    value  BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE log_signed (
    size   INTEGER NOT NULL PRIMARY KEY,
    issuer TEXT    NOT NULL,
    note   BLOB    NOT NULL
);

-- +goose Down
DROP TABLE log_signed;
DROP TABLE log_state;
DROP TABLE log_entries;
DROP TABLE log_head;
DROP TABLE audit;
DROP TABLE deliveries;
DROP TABLE notes;
DROP TABLE events;
DROP TABLE search_tags;
DROP TABLE parts;
DROP TABLE signatures;
DROP TABLE contents;
DROP TABLE licences;
DROP TABLE sheets;
DROP TABLE people;
DROP TABLE organisations;
DROP TABLE counters;
DROP TABLE installation;
