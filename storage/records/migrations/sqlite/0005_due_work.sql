-- Deliveries become due work, with the life that a row of it has: held, due, leased, done, dead, cancelled. What was to be
-- delivered before keeps its place, its time and whether it is done; its key is random, since nobody was ever sent it.
-- due is the earliest next attempt; ready is when the row may be taken: due, or the end of the lease.

-- +goose Up
CREATE TABLE due_work (
    ordinal         INTEGER PRIMARY KEY,
    idempotency_key TEXT    NOT NULL UNIQUE,
    issuer          TEXT    NOT NULL,
    lane            TEXT    NOT NULL, -- receiver, or name of an upkeep
    topic           TEXT    NOT NULL,
    licence         BIGINT  REFERENCES licences (ordinal), -- null for upkeep
    sequence        INTEGER NOT NULL, -- of the licence's event that made it due, -1 unknown
    state           TEXT    NOT NULL,
    due             BIGINT  NOT NULL,
    ready           BIGINT  NOT NULL,
    epoch           BIGINT  NOT NULL,
    attempts        INTEGER NOT NULL,
    wakes           BIGINT  NOT NULL, -- how often periodic work was made due before its time
    failure_code    TEXT    NOT NULL,
    failure_detail  TEXT    NOT NULL,
    failed_at       BIGINT  NOT NULL, -- 0 never
    created         BIGINT  NOT NULL,
    ended_at        BIGINT  NOT NULL  -- 0 not yet
);
CREATE INDEX due_work_next ON due_work (lane, ready, ordinal) WHERE state IN ('due', 'leased');
CREATE INDEX due_work_held ON due_work (licence) WHERE state = 'held';
CREATE INDEX due_work_by_state ON due_work (state, ordinal);
CREATE INDEX due_work_by_lane ON due_work (state, lane, ordinal);

CREATE TABLE due_lanes (
    lane         TEXT    NOT NULL PRIMARY KEY,
    issuer       TEXT    NOT NULL,
    paused_until BIGINT  NOT NULL,
    failures     INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO due_work (ordinal, idempotency_key, issuer, lane, topic, licence, sequence, state, due, ready, epoch, attempts,
        wakes, failure_code, failure_detail, failed_at, created, ended_at)
    SELECT ordinal, lower(hex(randomblob(16))), issuer, receiver, topic, licence, -1,
        CASE WHEN done_at IS NOT NULL THEN 'done' WHEN held <> 0 THEN 'held' ELSE 'due' END,
        due, due, 0, 0, 0, '', '', 0, due, COALESCE(done_at, 0)
    FROM deliveries;
DROP TABLE deliveries;

-- +goose Down
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
INSERT INTO deliveries (ordinal, licence, issuer, receiver, topic, due, held, done_at)
    SELECT ordinal, licence, issuer, lane, topic, due, CASE WHEN state = 'held' THEN 1 ELSE 0 END,
        CASE WHEN state IN ('done', 'cancelled') THEN ended_at END
    FROM due_work WHERE licence IS NOT NULL;
DROP TABLE due_lanes;
DROP TABLE due_work;
