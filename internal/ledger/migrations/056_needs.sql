-- needs: 050
-- The oldest schema whose program may run on a ledger that has seen a migration, such as 050. NULL: the migration's own.
ALTER TABLE migrations ADD COLUMN needs TEXT;
