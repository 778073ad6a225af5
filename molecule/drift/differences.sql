-- Three differences from what the migration makes.
ALTER TABLE companies ALTER COLUMN email TYPE text;
ALTER TABLE clients ALTER COLUMN phone DROP NOT NULL;
DROP INDEX idx_companies_active;
CREATE INDEX idx_companies_active ON companies (is_active);
