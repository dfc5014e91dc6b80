-- Which text a link shows beside its button: a checksum. 0: none, or unknown.
ALTER TABLE links ADD COLUMN text_sum INTEGER NOT NULL DEFAULT 0;
