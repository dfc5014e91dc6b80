-- needs: 066
-- Whether a link takes promotion codes, as last read from Stripe or set there.
ALTER TABLE links ADD COLUMN promotion_codes INTEGER NOT NULL DEFAULT 0 CHECK (promotion_codes IN (0, 1));
-- What a promotion code took off the price, in minor currency units. The amount is what was paid.
ALTER TABLE payments ADD COLUMN discount INTEGER NOT NULL DEFAULT 0 CHECK (discount >= 0);
