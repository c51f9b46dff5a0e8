-- Duties that one process at a time may have are leased; a licence says since when its claimant has it, so that another
-- process takes up only what was left lying. On this engine one process writes, and both are formalities.
-- Lists by issuer or stage, and year tables, walk through what they show, not through everything.

-- +goose Up
CREATE TABLE leases (
    name   TEXT   NOT NULL PRIMARY KEY,
    issuer TEXT   NOT NULL,
    holder TEXT   NOT NULL,
    epoch  BIGINT NOT NULL,
    until  BIGINT NOT NULL
) WITHOUT ROWID;
ALTER TABLE licences ADD COLUMN claimed_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX licences_of ON licences (issuer, ordinal);
CREATE INDEX licences_by_year ON licences (issuer, type, issue_time) WHERE uses_stock = 1;
CREATE INDEX licences_parked ON licences (ordinal) WHERE stage = 4;
CREATE INDEX sheets_of ON sheets (issuer, type, drawn_at);

-- +goose Down
DROP INDEX sheets_of;
DROP INDEX licences_parked;
DROP INDEX licences_by_year;
DROP INDEX licences_of;
ALTER TABLE licences DROP COLUMN claimed_at;
DROP TABLE leases;
