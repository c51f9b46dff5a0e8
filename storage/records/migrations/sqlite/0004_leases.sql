-- Duties that one process at a time may have are leased; a licence says since when its claimant has it, so that another
-- process takes up only what was left lying. On this engine one process writes, and both are formalities.

-- +goose Up
CREATE TABLE leases (
    name   TEXT   NOT NULL PRIMARY KEY,
    issuer TEXT   NOT NULL,
    holder TEXT   NOT NULL,
    epoch  BIGINT NOT NULL,
    until  BIGINT NOT NULL
) WITHOUT ROWID;
ALTER TABLE licences ADD COLUMN claimed_at BIGINT NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE licences DROP COLUMN claimed_at;
DROP TABLE leases;
