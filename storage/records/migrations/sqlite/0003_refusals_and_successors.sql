-- What the ledger refused is listed, and a licence's successors are looked for before a number is used: both without a
-- walk through everything.

-- +goose Up
CREATE INDEX events_refused ON events (ordinal) WHERE refusal <> '';
CREATE INDEX licences_successors ON licences (replaces) WHERE replaces <> '';

-- +goose Down
DROP INDEX licences_successors;
DROP INDEX events_refused;
