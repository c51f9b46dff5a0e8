-- The tables as they are on SQLite after the migrations up to this number. Times are microseconds since 1970-01-01 UTC.
-- What is called sealed is an SM4-GCM ciphertext that opens only at its own table, column, row and key version. issuer is
-- a unified social credit code, '' for the installation itself. Order of text is the order of its bytes, whatever the
-- locale of the database: numbers are compared.

-- +goose Up
CREATE TABLE installation (
    name   TEXT  COLLATE "C" NOT NULL PRIMARY KEY,
    issuer TEXT  NOT NULL,
    value  BYTEA NOT NULL
);

CREATE TABLE counters (
    issuer TEXT   COLLATE "C" NOT NULL,
    name   TEXT   COLLATE "C" NOT NULL,
    value  BIGINT NOT NULL,
    PRIMARY KEY (issuer, name)
) WITH (fillfactor = 50);

CREATE TABLE leases (
    name   TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    issuer TEXT   NOT NULL,
    holder TEXT   NOT NULL,
    epoch  BIGINT NOT NULL,
    until  BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE organisations (
    issuer  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name    TEXT NOT NULL,
    name_en TEXT NOT NULL,
    kind    TEXT NOT NULL,
    region  TEXT NOT NULL
);

CREATE TABLE people (
    issuer   TEXT  COLLATE "C" NOT NULL,
    id       TEXT  COLLATE "C" NOT NULL,
    roles    TEXT  NOT NULL, -- separated by spaces
    salt     BYTEA NOT NULL,
    verifier BYTEA NOT NULL,
    PRIMARY KEY (issuer, id)
);

CREATE TABLE sheets (
    number      TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    issuer      TEXT   COLLATE "C" NOT NULL,
    type        TEXT   COLLATE "C" NOT NULL,
    state       TEXT   COLLATE "C" NOT NULL,
    business_id TEXT   COLLATE "C" NOT NULL DEFAULT '',
    licence     TEXT   COLLATE "C" NOT NULL DEFAULT '',
    reason      TEXT   NOT NULL DEFAULT '',
    drawn_at    BIGINT NOT NULL,
    used_at     BIGINT
);
CREATE INDEX sheets_free ON sheets (issuer, type, number) WHERE state = 'allotted';
CREATE INDEX sheets_of ON sheets (issuer, type, drawn_at);
CREATE INDEX sheets_bound ON sheets (issuer, type, business_id) WHERE state = 'bound';

-- The row that every commit of a licence rewrites: kept small, its contents stand apart.
CREATE TABLE licences (
    ordinal        BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id             TEXT    COLLATE "C" NOT NULL UNIQUE,
    issuer         TEXT    COLLATE "C" NOT NULL,
    stage          INTEGER NOT NULL,
    epoch          BIGINT  NOT NULL,
    status         INTEGER NOT NULL,
    status_at      BIGINT  NOT NULL,
    replaced_by    TEXT    COLLATE "C" NOT NULL,
    park_reason    TEXT    NOT NULL,
    number         TEXT    COLLATE "C" NOT NULL UNIQUE,
    identifier     TEXT    COLLATE "C" NOT NULL UNIQUE,
    serial         BIGINT  NOT NULL,
    type           TEXT    COLLATE "C" NOT NULL,
    kind           TEXT    COLLATE "C" NOT NULL,
    business_id    TEXT    COLLATE "C" NOT NULL,
    replaces       TEXT    COLLATE "C" NOT NULL,
    uses_stock     INTEGER NOT NULL,
    status_index   BIGINT  NOT NULL UNIQUE,
    issue_time     BIGINT  NOT NULL,
    data_key       BYTEA   NOT NULL, -- wrapped
    data_key_id    TEXT    COLLATE "C" NOT NULL,
    key_version    INTEGER NOT NULL,
    request_digest BYTEA   NOT NULL,
    claimed_at     BIGINT  NOT NULL,
    UNIQUE (business_id, issuer, kind, replaces)
) WITH (fillfactor = 70);
CREATE INDEX licences_unfinished ON licences (ordinal) WHERE stage IN (1, 2);
CREATE INDEX licences_ended ON licences (ordinal) WHERE status <> 0;
CREATE INDEX licences_successors ON licences (replaces) WHERE replaces <> '';
CREATE INDEX licences_of ON licences (issuer, ordinal);
CREATE INDEX licences_by_year ON licences (issuer, type, issue_time) WHERE uses_stock = 1;
CREATE INDEX licences_parked ON licences (ordinal) WHERE stage = 4;

-- What the intent fixed for ever, and what only the licence's own key opens.
CREATE TABLE contents (
    licence        BIGINT  NOT NULL PRIMARY KEY REFERENCES licences (ordinal),
    issuer         TEXT    NOT NULL,
    issuer_name    TEXT    NOT NULL,
    issuer_region  TEXT    NOT NULL,
    type_version   INTEGER NOT NULL,
    request        BYTEA   NOT NULL, -- sealed
    seed           BYTEA   NOT NULL, -- sealed
    clerk          TEXT    NOT NULL,
    approver       TEXT    NOT NULL,
    handle         BYTEA   NOT NULL,
    signing_time   BIGINT  NOT NULL,
    document_key   BYTEA   NOT NULL,
    event_key      BYTEA   NOT NULL,
    parts          TEXT    NOT NULL, -- separated by spaces
    format_version INTEGER NOT NULL,
    specimen       INTEGER NOT NULL,
    warnings       TEXT    NOT NULL, -- separated by spaces
    created        BIGINT  NOT NULL
);
ALTER TABLE contents ALTER COLUMN request SET STORAGE EXTERNAL; -- ciphertext does not compress

CREATE TABLE signatures (
    licence    BIGINT NOT NULL PRIMARY KEY REFERENCES licences (ordinal),
    issuer     TEXT   NOT NULL,
    credential BYTEA  NOT NULL, -- sealed
    abandoned  TEXT   NOT NULL  -- object keys separated by spaces
);
ALTER TABLE signatures ALTER COLUMN credential SET STORAGE EXTERNAL;

CREATE TABLE parts (
    licence  BIGINT  NOT NULL REFERENCES licences (ordinal),
    position INTEGER NOT NULL,
    issuer   TEXT    NOT NULL,
    part     TEXT    NOT NULL,
    rs       BYTEA   NOT NULL,
    sm3      BYTEA   NOT NULL,
    size     BIGINT  NOT NULL,
    address  TEXT    COLLATE "C" NOT NULL,
    nonce    BYTEA   NOT NULL,
    PRIMARY KEY (licence, position)
);

CREATE TABLE search_tags (
    field   TEXT   COLLATE "C" NOT NULL,
    tag     BYTEA  NOT NULL,
    licence BIGINT NOT NULL REFERENCES licences (ordinal),
    issuer  TEXT   NOT NULL,
    PRIMARY KEY (field, tag, licence)
);
CREATE INDEX search_tags_of ON search_tags (licence);

CREATE TABLE events (
    ordinal   BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    licence   BIGINT  NOT NULL REFERENCES licences (ordinal),
    issuer    TEXT    NOT NULL,
    sequence  INTEGER NOT NULL,
    kind      TEXT    COLLATE "C" NOT NULL,
    hash      BYTEA   NOT NULL UNIQUE,
    bytes     BYTEA   NOT NULL,
    at        BIGINT  NOT NULL,
    actor     TEXT    NOT NULL,
    log_index BIGINT,
    refusal   TEXT    NOT NULL
);
CREATE UNIQUE INDEX events_of ON events (licence, sequence) WHERE refusal = '';
CREATE INDEX events_pending ON events (ordinal) WHERE log_index IS NULL AND refusal = '';
CREATE INDEX events_refused ON events (ordinal) WHERE refusal <> '';
CREATE INDEX events_at ON events (at);

CREATE TABLE notes (
    event       BIGINT  NOT NULL PRIMARY KEY REFERENCES events (ordinal),
    licence     BIGINT  NOT NULL REFERENCES licences (ordinal),
    issuer      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    key_version INTEGER NOT NULL,
    text        BYTEA   NOT NULL -- sealed
);
CREATE INDEX notes_of ON notes (licence);

CREATE TABLE deliveries (
    ordinal  BIGINT  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    ordinal  BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer   TEXT   NOT NULL, -- the acting organisation
    at       BIGINT NOT NULL,
    person   TEXT   NOT NULL,
    what     TEXT   NOT NULL,
    why      TEXT   NOT NULL,
    whence   TEXT   NOT NULL,
    licence  TEXT   COLLATE "C" NOT NULL, -- id
    fields   TEXT   NOT NULL, -- separated by line feeds
    spool    TEXT   COLLATE "C", -- id of the spooled row that it came from
    sequence BIGINT,          -- in the chain, null until sealed
    hash     BYTEA
);
CREATE UNIQUE INDEX audit_spooled ON audit (spool) WHERE spool IS NOT NULL;
CREATE UNIQUE INDEX audit_chain ON audit (sequence) WHERE sequence IS NOT NULL;
CREATE INDEX audit_unsealed ON audit (ordinal) WHERE sequence IS NULL;
CREATE INDEX audit_of ON audit (licence) WHERE licence <> '';

CREATE TABLE log_head (
    issuer TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    size   BIGINT NOT NULL,
    body   BYTEA
) WITH (fillfactor = 50);

CREATE TABLE log_entries (
    idx    BIGINT NOT NULL PRIMARY KEY,
    issuer TEXT   NOT NULL,
    hash   BYTEA  NOT NULL UNIQUE,
    bytes  BYTEA  NOT NULL
);

CREATE TABLE log_state (
    name   TEXT  COLLATE "C" NOT NULL PRIMARY KEY,
    issuer TEXT  NOT NULL,
    value  BYTEA NOT NULL
);

CREATE TABLE log_signed (
    size   BIGINT NOT NULL PRIMARY KEY,
    issuer TEXT   NOT NULL,
    note   BYTEA  NOT NULL
);

-- The trail and the log only grow, whoever is connected: an audit row gets its place in the chain once and changes in
-- nothing else, an entry and an event never. Only the owner of the tables could take these triggers off.
-- +goose StatementBegin
CREATE FUNCTION only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: it only grows', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION sealed_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.sequence IS NOT NULL OR ROW (OLD.ordinal, OLD.issuer, OLD.at, OLD.person, OLD.what, OLD.why, OLD.whence, OLD.licence, OLD.fields, OLD.spool)
        IS DISTINCT FROM ROW (NEW.ordinal, NEW.issuer, NEW.at, NEW.person, NEW.what, NEW.why, NEW.whence, NEW.licence, NEW.fields, NEW.spool) THEN
        RAISE EXCEPTION 'an audit row changes only by being sealed, once' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION answered_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.log_index IS NOT NULL OR OLD.refusal <> '' OR ROW (OLD.ordinal, OLD.licence, OLD.issuer, OLD.sequence, OLD.kind, OLD.hash, OLD.bytes, OLD.at, OLD.actor)
        IS DISTINCT FROM ROW (NEW.ordinal, NEW.licence, NEW.issuer, NEW.sequence, NEW.kind, NEW.hash, NEW.bytes, NEW.at, NEW.actor) THEN
        RAISE EXCEPTION 'an event changes only by the answer of the ledger, once' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_sealed_once BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION sealed_once();
CREATE TRIGGER audit_only_grows BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION only_grows();
CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit EXECUTE FUNCTION only_grows();
CREATE TRIGGER events_answered_once BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION answered_once();
CREATE TRIGGER events_only_grow BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION only_grows();
CREATE TRIGGER events_are_not_emptied BEFORE TRUNCATE ON events EXECUTE FUNCTION only_grows();
CREATE TRIGGER log_only_grows BEFORE UPDATE OR DELETE ON log_entries FOR EACH ROW EXECUTE FUNCTION only_grows();
CREATE TRIGGER log_is_not_emptied BEFORE TRUNCATE ON log_entries EXECUTE FUNCTION only_grows();

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
DROP TABLE leases;
DROP TABLE counters;
DROP TABLE installation;
DROP FUNCTION answered_once;
DROP FUNCTION sealed_once;
DROP FUNCTION only_grows;
