-- A sheet belongs to an issuer and a licence type. What was allotted before is of birth certificates; only a sheet that
-- became a licence of another type is that type's, so that both year tables balance.

-- +goose Up
ALTER TABLE sheets ADD COLUMN type TEXT NOT NULL DEFAULT 'birth-certificate';
UPDATE sheets SET type = (SELECT l.type FROM licences l WHERE l.id = sheets.licence)
    WHERE licence IN (SELECT id FROM licences WHERE type <> 'birth-certificate');
DROP INDEX sheets_free;
DROP INDEX sheets_bound;
CREATE INDEX sheets_free ON sheets (issuer, type, number) WHERE state = 'allotted';
CREATE INDEX sheets_bound ON sheets (issuer, type, business_id) WHERE state = 'bound';

-- +goose Down
DROP INDEX sheets_bound;
DROP INDEX sheets_free;
ALTER TABLE sheets DROP COLUMN type;
CREATE INDEX sheets_free ON sheets (issuer, number) WHERE state = 'allotted';
CREATE INDEX sheets_bound ON sheets (issuer, business_id) WHERE state = 'bound';
