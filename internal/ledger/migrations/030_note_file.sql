-- The notefile that a payment's notes are in. '': payment.qi, as before there was a choice.
ALTER TABLE payments ADD COLUMN note_file TEXT NOT NULL DEFAULT '';
