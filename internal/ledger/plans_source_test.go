package ledger

import (
	"database/sql"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// smallTables returns the tables that stay small however many payments there are. Every other table
// grows.
func smallTables() []string {
	return []string{
		// a row each, or a few:
		"facts", "cursors", "certificates", "migrations", "alert_states",
		// a row for each instance:
		"instances", "leader",
		// a few rows for each machine or fleet:
		"devices", "variables", "pauses", "maintenance", "machine_states",
		// a few rows for each person or program that may use the console:
		"people", "recovery_codes", "passkeys", "api_tokens", "sign_ins", "operator_sessions", "sign_in_attempts",
		// emptied every few minutes:
		"revenue_stale",
	}
}

// growingTables returns the other tables of a ledger.
func growingTables(t *testing.T, db *sql.DB, list string) []string {
	t.Helper()
	tables := slices.DeleteFunc(names(t, db, list), func(name string) bool {
		return slices.Contains(smallTables(), name)
	})
	if !slices.Contains(tables, "payments") {
		t.Fatalf("%q grow; want payments among them", tables)
	}
	return tables
}

const tablesOfSQLite = `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`

// notPlanned returns why statements of some functions and constants are not among frequentQueries.
func notPlanned() map[string]string {
	return map[string]string{
		"RestoredPayments":   "reads a restored copy once",
		"earliestTrace":      "runs once, after a clock that was ahead",
		"RestoreMovements":   "its count runs once for each 20,000 payments, after an upgrade",
		"restoreMovements":   "adds what such a count has found",
		"missingMovements":   "is the condition of both",
		"ReconcileWanted":    "runs at a start; a look-up has a row only until it is done",
		"Links":              "reads all links, at a start",
		"SessionPlans":       "reads the sessions of a month, at a start",
		"changesAfter":       "needs an instance; TestPostgresQueriesUseIndexes plans it",
		"lastChange":         "is the same",
		"insertAttempts":     "combines rows on PostgreSQL, with nestedLoops",
		"change":             "adds conditions on a payment that is found by its id",
		"AddOperatorSession": "reads a small table",
		"stamp":              "writes two rows of a copy",
		"oldest":             "makes the statements that prune, which are planned",
	}
}

// sqlText is a part of a statement in the source.
type sqlText struct {
	text, file string
	line       int
	in         string // the function or constant
}

// beginsSQL matches a text that begins a statement or a part of one.
var beginsSQL = regexp.MustCompile(
	`^\s*\(?(SELECT|WITH|UPDATE|DELETE|INSERT|FROM|JOIN|WHERE|AND|OR|ORDER BY|GROUP BY|UNION)\b`)

// namesTable matches the name of a table in a statement.
var namesTable = regexp.MustCompile(`\b(?:FROM|JOIN|UPDATE|INTO) +([a-z_]+)\b`)

// sqlTexts returns the texts in the source that are parts of statements.
func sqlTexts(t *testing.T) (list []sqlText) {
	t.Helper()
	files := token.NewFileSet()
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			in := ""
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					in = n.Name.Name
				case *ast.ValueSpec:
					if _, ofFile := d.(*ast.GenDecl); ofFile {
						in = n.Names[0].Name
					}
				case *ast.BasicLit:
					text, _ := strconv.Unquote(n.Value)
					if n.Kind == token.STRING && (beginsSQL.MatchString(text) || namesTable.MatchString(text)) {
						list = append(list, sqlText{text, name, files.Position(n.Pos()).Line, in})
					}
				}
				return true
			})
		}
	}
	return list
}

// Each statement of the package that reads a table that grows is one of frequentQueries, whose plans
// are checked, or an exception. So is each condition that may be added to such a statement.
func TestQueriesArePlanned(t *testing.T) {
	t.Parallel()
	var seen strings.Builder
	l, tx, plain := watchedLedger(t, freshSQLite(t), func(statement string) { seen.WriteString(statement + "\n;\n") })
	for _, q := range frequentQueries(t.Context(), l, tx) {
		_ = q.ask() // TestQueriesUseIndexes checks the error
	}
	verb := regexp.MustCompile(`%[a-z]`)
	inserts := regexp.MustCompile(`^\s*INSERT INTO [a-z_]+`)
	// These work on the database as a whole, and name no table or one that they find in its schema.
	server := regexp.MustCompile(`^(postgres.*|migrate|move(_tables)?|files|restore|sqlite|upgrade|writable)\.go$`)
	growing := growingTables(t, plain, tablesOfSQLite)
	unused := maps.Clone(notPlanned())
	for _, s := range sqlTexts(t) {
		for _, part := range verb.Split(s.text, -1) {
			reads := inserts.ReplaceAllString(part, "")
			tables := namesTable.FindAllStringSubmatch(reads, -1)
			reads = strings.TrimSpace(reads)
			grows := slices.ContainsFunc(tables, func(m []string) bool { return slices.Contains(growing, m[1]) })
			isSmall := !grows && (len(tables) > 0 || inserts.MatchString(part) || server.MatchString(s.file))
			if reads == "" || isSmall || strings.Contains(seen.String(), part) {
				continue
			}
			delete(unused, s.in)
			if notPlanned()[s.in] == "" {
				t.Errorf("%s:%d: no plan of %q in %s is checked: add its call to frequentQueries, or say in "+
					"notPlanned why not", s.file, s.line, part, s.in)
			}
		}
	}
	for name, why := range unused {
		t.Errorf("the statements of %s are planned, or gone; want no exception (%s)", name, why)
	}
}
