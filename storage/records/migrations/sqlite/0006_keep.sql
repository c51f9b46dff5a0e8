-- What must come back from objects alone when the records are lost, and is in no licence and no log entry, is an act:
-- written in the transaction of what it tells of, put among the objects soon after. Erasures are remembered, and a data key
-- is found by its id, an audit row by its time and its person, without a walk.

-- +goose Up
CREATE TABLE acts (
    ordinal INTEGER PRIMARY KEY,
    issuer  TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    subject TEXT    NOT NULL, -- what it is looked up by: of words, the hash of their event
    body    BLOB    NOT NULL, -- JSON
    kept    INTEGER NOT NULL  -- 1 once it lies among the objects
);
CREATE INDEX acts_unkept ON acts (ordinal) WHERE kept = 0;

CREATE TABLE erasures (
    key_id  TEXT   NOT NULL PRIMARY KEY, -- of the data key that was destroyed
    issuer  TEXT   NOT NULL,
    licence TEXT   NOT NULL, -- id
    at      BIGINT NOT NULL,
    reason  TEXT   NOT NULL
) WITHOUT ROWID;

CREATE INDEX licences_key ON licences (data_key_id);
CREATE INDEX contents_handle ON contents (handle);
CREATE INDEX acts_subject ON acts (subject) WHERE subject <> '';
CREATE INDEX acts_erased ON acts (ordinal) WHERE kind = 'erased';
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_person ON audit (person, at);

-- +goose Down
DROP INDEX audit_person;
DROP INDEX audit_at;
DROP INDEX contents_handle;
DROP INDEX licences_key;
DROP TABLE erasures;
DROP TABLE acts;
