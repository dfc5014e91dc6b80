package ledger

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// addPerson stores a person with an open invitation.
func addPerson(t *testing.T, l *Ledger, name string) Person {
	t.Helper()
	p := Person{
		ID:          "p_" + strings.ToLower(name),
		Name:        name,
		NameKey:     strings.ToLower(name),
		Role:        "support",
		Invite:      "invite of " + name,
		InviteUntil: l.Now().Add(time.Hour).UTC().Truncate(time.Millisecond),
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.AddPerson(p) })
	return p
}

func testPeople(t *testing.T, database string) {
	l := open(t, database)
	ada := addPerson(t, l, "Ada")
	read, err := l.PersonNamed(t.Context(), "ada")
	if ada.CreatedAt = read.CreatedAt; err != nil || read != ada || read.CreatedAt.IsZero() {
		t.Errorf("%+v, %v; want %+v", read, err, ada)
	}
	err = l.Update(t.Context(), func(tx *Tx) error {
		return tx.AddPerson(Person{ID: "p_2", NameKey: "ada", Role: "view"})
	})
	if !errors.Is(err, ErrNameTaken) {
		t.Errorf("a second Ada: %v; want ErrNameTaken", err)
	}
	if _, err := l.PersonInvited(t.Context(), ada.Invite); err != nil {
		t.Errorf("an open invitation: %v", err)
	}
	ada.Role, ada.Password, ada.TOTP, ada.TOTPStep = "owner", "$argon2id$", "JBSW", 7
	ada.InviteUntil = l.Now().Add(-time.Second).UTC().Truncate(time.Millisecond)
	mustUpdate(t, l, func(tx *Tx) error { return tx.ChangePerson(ada) })
	if read, err := l.Person(t.Context(), ada.ID); err != nil || read != ada {
		t.Errorf("%+v, %v; want %+v", read, err, ada)
	}
	if _, err := l.PersonInvited(t.Context(), ada.Invite); !errors.Is(err, ErrNotFound) {
		t.Errorf("an old invitation: %v; want ErrNotFound", err)
	}
	if _, err := l.PersonInvited(t.Context(), ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("no invitation: %v; want ErrNotFound", err)
	}
	err = l.Update(t.Context(), func(tx *Tx) error { return tx.ChangePerson(Person{ID: "p_9", Role: "view"}) })
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown person: %v; want ErrNotFound", err)
	}
	if list, err := l.People(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v; want one person", list, err)
	}

	used := func(f func(tx *Tx) (bool, error)) (ok bool) {
		t.Helper()
		mustUpdate(t, l, func(tx *Tx) (err error) { ok, err = f(tx); return err })
		return ok
	}
	for _, c := range []struct {
		step int64
		want bool
	}{{7, false}, {6, false}, {8, true}, {8, false}, {9, true}} {
		if used(func(tx *Tx) (bool, error) { return tx.UseTOTP(ada.ID, c.step) }) != c.want {
			t.Errorf("the code of step %d counts: %v; want %v", c.step, !c.want, c.want)
		}
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetRecoveryCodes(ada.ID, []string{"old"}) })
	mustUpdate(t, l, func(tx *Tx) error { return tx.SetRecoveryCodes(ada.ID, []string{"a", "b"}) })
	for _, c := range []struct {
		person, code string
		want         bool
	}{{ada.ID, "old", false}, {"p_2", "a", false}, {ada.ID, "a", true}, {ada.ID, "a", false}} {
		if used(func(tx *Tx) (bool, error) { return tx.UseRecoveryCode(c.person, c.code) }) != c.want {
			t.Errorf("the code %s of %s counts: %v; want %v", c.code, c.person, !c.want, c.want)
		}
	}
	if n, err := l.RecoveryCodes(t.Context(), ada.ID); err != nil || n != 1 {
		t.Errorf("%d codes left, %v; want 1", n, err)
	}
}

func testPasskeys(t *testing.T, database string) {
	l := open(t, database)
	ada, bob := addPerson(t, l, "Ada"), addPerson(t, l, "Bob")
	key := Passkey{ID: "k1", Person: ada.ID, Name: "Phone", PublicKey: "MFkw", Counter: 3, Backup: true}
	mustUpdate(t, l, func(tx *Tx) error { return tx.AddPasskey(key) })
	stolen := key
	stolen.Person = bob.ID
	err := l.Update(t.Context(), func(tx *Tx) error { return tx.AddPasskey(stolen) })
	if !errors.Is(err, ErrPasskeyTaken) {
		t.Errorf("the passkey of another person: %v; want ErrPasskeyTaken", err)
	}
	read, err := l.Passkey(t.Context(), "k1")
	if key.CreatedAt = read.CreatedAt; err != nil || read != key {
		t.Errorf("%+v, %v; want %+v", read, err, key)
	}
	use := func(before, counter int64) (ok bool) {
		mustUpdate(t, l, func(tx *Tx) (err error) { ok, err = tx.UsePasskey("k1", before, counter); return err })
		return ok
	}
	if !use(3, 4) || use(3, 5) {
		t.Error("two sign-ins count with one counter")
	}
	if read, err := l.Passkey(t.Context(), "k1"); err != nil || read.Counter != 4 || read.UsedAt.IsZero() {
		t.Errorf("%+v, %v; want the counter 4", read, err)
	}
	if n, err := l.PasskeysOf(t.Context()); err != nil || n[ada.ID] != 1 || n[bob.ID] != 0 {
		t.Errorf("%v, %v; want one of Ada", n, err)
	}
	remove := func(person string) {
		mustUpdate(t, l, func(tx *Tx) error { return errOnly(tx.RemovePasskeys(person, "k1")) })
	}
	remove(bob.ID)
	if list, err := l.Passkeys(t.Context(), ada.ID); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v; want that Bob cannot remove it", list, err)
	}
	remove(ada.ID)
	if list, err := l.Passkeys(t.Context(), ada.ID); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v; want none", list, err)
	}
}

func testOperatorSessions(t *testing.T, database string) {
	l := open(t, database)
	ada, bob := addPerson(t, l, "Ada"), addPerson(t, l, "Bob")
	add := func(id, person string, until time.Duration) {
		mustUpdate(t, l, func(tx *Tx) error {
			s := OperatorSession{ID: id, Person: person, Until: tx.Now.Add(until), Way: "token"}
			return tx.AddOperatorSession(s)
		})
	}
	add("a1", ada.ID, time.Hour)
	add("a2", ada.ID, time.Hour)
	add("b1", bob.ID, time.Hour)
	add("t1", "", time.Hour)
	add("t2", "", time.Hour)
	add("old", ada.ID, -time.Second)
	mustUpdate(t, l, func(tx *Tx) error { return tx.SeeOperatorSession("a1") })
	s, err := l.OperatorSession(t.Context(), "a1")
	if err != nil || s.Name != "Ada" || s.Role != "support" || !s.DisabledAt.IsZero() || s.Since.IsZero() {
		t.Errorf("%+v, %v; want a session of Ada", s, err)
	}
	if s, err := l.OperatorSession(t.Context(), "t1"); err != nil || s.Person != "" || s.Role != "" {
		t.Errorf("%+v, %v; want one of the token", s, err)
	}
	if _, err := l.OperatorSession(t.Context(), "old"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a session that has ended: %v; want ErrNotFound", err)
	}
	left := func(want string) {
		t.Helper()
		list, err := l.OperatorSessions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, s := range list {
			found[s.ID] = true
		}
		for _, id := range strings.Fields(want) {
			if !found[id] {
				t.Errorf("%s is not among %v", id, found)
			}
		}
		if len(found) != len(strings.Fields(want)) {
			t.Errorf("%v; want %s", found, want)
		}
	}
	left("a1 a2 b1 t1 t2")
	end := func(person, id string) (ended bool) {
		mustUpdate(t, l, func(tx *Tx) (err error) { ended, err = tx.EndOperatorSession(person, id); return err })
		return ended
	}
	if end(bob.ID, "a1") || end("", "a1") || !end("", "t2") || end("", "t2") {
		t.Error("a person ends the session of another one")
	}
	left("a1 a2 b1 t1")
	mustUpdate(t, l, func(tx *Tx) error { return errOnly(tx.EndOperatorSessions(ada.ID, "a2")) })
	left("a2 b1 t1")
	mustUpdate(t, l, func(tx *Tx) error { return errOnly(tx.EndOperatorSessions("", "")) })
	left("a2 b1")
	mustUpdate(t, l, func(tx *Tx) error {
		bob.DisabledAt = tx.Now
		return tx.ChangePerson(bob)
	})
	if s, err := l.OperatorSession(t.Context(), "b1"); err != nil || s.DisabledAt.IsZero() {
		t.Errorf("%+v, %v; want that Bob is disabled", s, err)
	}
}

func testAPITokens(t *testing.T, database string) {
	l := open(t, database)
	token := APIToken{ID: "t_1", Name: "Books", NameKey: "books", Digest: "d1", Role: "view", CreatedBy: "Ada"}
	mustUpdate(t, l, func(tx *Tx) error { return tx.AddAPIToken(token) })
	mustUpdate(t, l, func(tx *Tx) error { return tx.UseAPIToken("t_1") })
	read, err := l.APIToken(t.Context(), "d1")
	token.CreatedAt, token.UsedAt = read.CreatedAt, read.UsedAt
	if err != nil || read != token || read.UsedAt.IsZero() {
		t.Errorf("%+v, %v; want %+v", read, err, token)
	}
	revoke := func() error {
		return l.Update(t.Context(), func(tx *Tx) error { return errOnly(tx.RevokeAPIToken("t_1")) })
	}
	if err := revoke(); err != nil {
		t.Error(err)
	}
	if err := revoke(); !errors.Is(err, ErrNotFound) {
		t.Errorf("again: %v; want ErrNotFound", err)
	}
	if _, err := l.APIToken(t.Context(), "d1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a revoked token: %v; want ErrNotFound", err)
	}
	again := token
	again.ID, again.Digest = "t_2", "d2"
	err = l.Update(t.Context(), func(tx *Tx) error { return tx.AddAPIToken(again) })
	if !errors.Is(err, ErrNameTaken) {
		t.Errorf("the name of a revoked token: %v; want ErrNameTaken", err)
	}
	if list, err := l.APITokens(t.Context()); err != nil || len(list) != 1 || list[0].RevokedAt.IsZero() {
		t.Errorf("%+v, %v; want one revoked token", list, err)
	}
}

func testSignInAttempts(t *testing.T, database string) {
	l := open(t, database)
	take := func(id string) (wait time.Duration) {
		mustUpdate(t, l, func(tx *Tx) (err error) { wait, err = tx.TakeAttempt(id, time.Hour, 3); return err })
		return wait
	}
	for n := range 3 {
		if wait := take("a"); wait != 0 {
			t.Errorf("attempt %d waits %v", n+1, wait)
		}
	}
	if wait := take("a"); wait <= 59*time.Minute || wait > time.Hour {
		t.Errorf("the fourth waits %v; want an hour", wait)
	}
	if wait := take("b"); wait != 0 {
		t.Errorf("another one waits %v", wait)
	}
	mustUpdate(t, l, func(tx *Tx) error { return tx.ForgetAttempts("a") })
	if wait := take("a"); wait != 0 {
		t.Errorf("after a success it waits %v", wait)
	}
}
