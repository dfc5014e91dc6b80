-- Why nobody can pay through a link that we did not deactivate ourselves: somebody did in Stripe's Dashboard, or limited it there.
-- Without this a restart would take the deactivation for our own, and undo it.
ALTER TABLE links ADD COLUMN closed TEXT NOT NULL DEFAULT '';
