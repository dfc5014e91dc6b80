// Package people says who may do what in the console and the API, and verifies how people sign in.
//
// It promises that a route which its table does not name needs an owner, that a password is only
// known as an Argon2id hash, and that a code of an authenticator app counts once. It does not know
// requests, pages or the ledger.
package people
