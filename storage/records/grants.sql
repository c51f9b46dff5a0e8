-- What the service's own database role needs, and no more. Run by the owner of the tables, after every upgrade:
-- granting again changes nothing. The service adds to the audit trail, to the events and to the log, and can neither
-- change nor remove what is in them; it makes no tables.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM :role;
GRANT USAGE ON SCHEMA public TO :role;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO :role;
GRANT INSERT ON installation, counters, leases, organisations, people, sheets, licences, contents, signatures, parts,
    search_tags, acts, erasures, events, notes, due_work, due_lanes, audit, log_head, log_entries, log_state, log_signed TO :role;
GRANT UPDATE ON installation, counters, leases, organisations, people, sheets, licences, contents, signatures, parts,
    acts, due_work, due_lanes, log_head, log_state, log_signed TO :role;
-- Sealing puts an audit row into the chain, the ledger's answer goes to its event; triggers see to it that both happen once.
GRANT UPDATE (sequence, hash) ON audit TO :role;
GRANT UPDATE (log_index, refusal) ON events TO :role;
-- Rebuilding the records from the objects.
GRANT UPDATE ON SEQUENCE acts_ordinal_seq TO :role;
-- Erasure.
GRANT DELETE ON search_tags, notes TO :role;
-- A lane of due work that goes on; due work that has ended and was kept long enough.
GRANT DELETE ON due_lanes, due_work TO :role;
