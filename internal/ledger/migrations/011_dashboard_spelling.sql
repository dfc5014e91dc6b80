-- Why nobody can pay through a link that we did not deactivate ourselves: somebody did in Stripe's Dashboard, or limited it there.
-- Without this a restart would take the deactivation for our own, and undo it.
ALTER TABLE links ADD COLUMN closed TEXT NOT NULL DEFAULT '';

-- The UID as Notehub spells it, '' if that is uid. UIDs are compared without case, and Notehub is asked in its own spelling.
ALTER TABLE devices ADD COLUMN spelled TEXT NOT NULL DEFAULT '';
