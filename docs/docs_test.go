// Package docs_test keeps the documents from rotting: what they name must be there.
package docs_test

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const module = "github.com/elicence/elicence"

// tree is the root of the repository as seen from this folder.
func tree() fs.FS { return os.DirFS("..") }

// files lists what a checkout holds with this ending; folders that the Makefile or the program makes are left out.
func files(t *testing.T, ending string) []string {
	t.Helper()
	made := []string{".git", "bin", "data", "reports", "dist", ".tools", ".cache"}
	var found []string
	err := fs.WalkDir(tree(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains(made, p) {
			return fs.SkipDir
		}
		if !d.IsDir() && strings.HasSuffix(p, ending) {
			found = append(found, p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatalf("no file ends with %s: is this test in the folder docs?", ending)
	}
	return found
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := fs.ReadFile(tree(), name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// prose is a document without its code blocks.
func prose(text string) string {
	var out strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
			continue
		}
		if !fenced {
			out.WriteString(line)
		}
	}
	return out.String()
}

// code is what a reader may type: code blocks, fenced or indented, and what stands between backquotes, a line each.
func code(text string) string {
	var out strings.Builder
	fenced := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			fenced = !fenced
		case fenced, strings.HasPrefix(line, "    "):
			out.WriteString(strings.TrimLeft(line, " "))
		default:
			for _, m := range codeSpan.FindAllStringSubmatch(line, -1) {
				out.WriteString(m[1] + "\n")
			}
		}
	}
	return out.String()
}

var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	link     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	scheme   = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
)

// TestLinksResolve follows every relative link of every document, and its heading if it names one.
func TestLinksResolve(t *testing.T) {
	for _, doc := range files(t, ".md") {
		text := codeSpan.ReplaceAllString(prose(read(t, doc)), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[1]
			if scheme.MatchString(target) {
				continue
			}
			name, heading, _ := strings.Cut(target, "#")
			to := path.Join(path.Dir(doc), name)
			if name == "" {
				to = doc
			}
			if _, err := fs.Stat(tree(), to); err != nil {
				t.Errorf("%s links to %s, which is not there", doc, target)
				continue
			}
			if heading != "" && !slices.Contains(headings(read(t, to)), heading) {
				t.Errorf("%s links to %s: %s has no such heading", doc, target, to)
			}
		}
	}
}

// headings returns the anchors that a forge makes of a document's headings.
func headings(text string) []string {
	var out []string
	for line := range strings.Lines(prose(text)) {
		title := strings.TrimLeft(line, "#")
		if title == line || !strings.HasPrefix(title, " ") {
			continue
		}
		out = append(out, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title)))
	}
	return out
}

// suite knows every test, fuzz target, benchmark and example of the tree, and what its cases are called.
type suite struct {
	folders map[string][]string // function → folders that declare it
	quoted  map[string]bool     // every quoted word of Go files: names of cases, which a suite may keep in a folder of its own
	scripts map[string]bool     // folder/name of testscript files
}

func tests(t *testing.T) suite {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	words := regexp.MustCompile(`"[^"\n]+"`)
	s := suite{map[string][]string{}, map[string]bool{}, map[string]bool{}}
	for _, name := range files(t, ".go") {
		text := read(t, name)
		for _, m := range declared.FindAllStringSubmatch(text, -1) {
			s.folders[m[1]] = append(s.folders[m[1]], path.Dir(name))
		}
		for _, w := range words.FindAllString(text, -1) {
			s.quoted[strings.Trim(w, `"`)] = true
		}
	}
	for _, name := range files(t, ".txtar") {
		folder := path.Dir(path.Dir(name)) // above testdata
		s.scripts[folder+"/"+strings.TrimSuffix(path.Base(name), ".txtar")] = true
	}
	return s
}

// check finds folder.TestName or TestName, with or without a case after a slash.
func (s suite) check(reference string) error {
	folder, name, ok := strings.Cut(reference, ".")
	if !ok {
		folder, name = "", reference
	}
	name, sub, _ := strings.Cut(name, "/")
	in := s.folders[name]
	if len(in) == 0 || folder != "" && !slices.Contains(in, folder) {
		return errors.New("no such test")
	}
	// testing writes the spaces of a case's name as underscores.
	if sub != "" && !s.quoted[sub] && !s.quoted[strings.ReplaceAll(sub, "_", " ")] && !s.scripts[folder+"/"+sub] {
		return fmt.Errorf("it has no case %q", sub)
	}
	return nil
}

var testName = regexp.MustCompile(`^(?:[a-z][a-z0-9/]*\.)?(?:Test|Fuzz|Benchmark|Example)[A-Z]\w*(?:/\S+)?$`)

// TestNamedTestsExist looks up every test that any document names between backquotes.
func TestNamedTestsExist(t *testing.T) {
	s := tests(t)
	for _, doc := range files(t, ".md") {
		for _, m := range codeSpan.FindAllStringSubmatch(prose(read(t, doc)), -1) {
			if !testName.MatchString(m[1]) {
				continue
			}
			if err := s.check(m[1]); err != nil {
				t.Errorf("%s names %s: %v", doc, m[1], err)
			}
		}
	}
}

// TestNamedFilesExist looks up every path of this repository that a document names between backquotes.
func TestNamedFilesExist(t *testing.T) {
	top := map[string]bool{}
	entries, err := fs.ReadDir(tree(), ".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains([]string{"bin", "data", "reports"}, e.Name()) {
			top[e.Name()] = true
		}
	}
	shape := regexp.MustCompile(`^[A-Za-z0-9._/-]+$`)
	for _, doc := range files(t, ".md") {
		for _, m := range codeSpan.FindAllStringSubmatch(prose(read(t, doc)), -1) {
			name := strings.TrimSuffix(m[1], "/")
			first, _, nested := strings.Cut(name, "/")
			if !nested || !top[first] || !shape.MatchString(name) || testName.MatchString(name) {
				continue
			}
			if _, err := fs.Stat(tree(), name); err != nil {
				t.Errorf("%s names %s, which is not there", doc, name)
			}
		}
	}
}

// TestNamedCommandsExist holds the documents to the commands that the program has.
func TestNamedCommandsExist(t *testing.T) {
	use := regexp.MustCompile(`Use:\s+"([a-z-]+)(?: ([a-z]+(?:\|[a-z]+)+)")?`)
	commands := map[string]bool{"help": true}
	sources, err := fs.Glob(tree(), "cmd/elicence/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		for _, m := range use.FindAllStringSubmatch(read(t, name), -1) {
			commands[m[1]] = true
			for kind := range strings.SplitSeq(m[2], "|") { // what it takes as its first word
				commands[kind] = true
			}
		}
	}
	// Exchange and replace, retire and disable are made by functions that take the verb.
	given := regexp.MustCompile(`a\.(?:reissueCommand|keyState)\("([a-z]+)"`)
	for _, name := range sources {
		for _, m := range given.FindAllStringSubmatch(read(t, name), -1) {
			commands[m[1]] = true
		}
	}
	group := map[string]bool{"number": true, "key": true, "ca": true, "trust": true, "ledger": true, "bench": true, "jobs": true, "storage": true, "config": true, "audit": true, "database": true}
	call := regexp.MustCompile(`(?m)^(?:\$ )?(?:\./)?(?:bin/)?elicence ([a-z]+)(?: ([a-z]+(?:-[a-z]+)*))?`)
	for _, doc := range files(t, ".md") {
		for _, m := range call.FindAllStringSubmatch(code(read(t, doc)), -1) {
			if !commands[m[1]] {
				t.Errorf("%s names the command %q, which the program does not have", doc, m[1])
			}
			if group[m[1]] && m[2] != "" && !commands[m[2]] {
				t.Errorf("%s names the command \"%s %s\", which the program does not have", doc, m[1], m[2])
			}
		}
	}
}

// row is a line of the threat model's table.
type row struct {
	number string
	cells  []string
}

func threatRows(t *testing.T) []row {
	t.Helper()
	numbered := regexp.MustCompile(`^\d+[a-z]?$`)
	var rows []row
	for line := range strings.Lines(read(t, "docs/threat-model.md")) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if numbered.MatchString(cells[0]) {
			rows = append(rows, row{cells[0], cells})
		}
	}
	return rows
}

// TestEveryThreatNamesATest: a line of the table without a test that shows it is a promise. Point 9 says what is not
// defended, so there is nothing to show.
func TestEveryThreatNamesATest(t *testing.T) {
	s := tests(t)
	seen := map[string]bool{}
	for _, r := range threatRows(t) {
		seen[strings.TrimRight(r.number, "abcdefghijklmnopqrstuvwxyz")] = true
		if strings.HasPrefix(r.number, "9") {
			continue
		}
		shown := 0
		for _, m := range codeSpan.FindAllStringSubmatch(r.cells[len(r.cells)-1], -1) {
			if !testName.MatchString(m[1]) || !strings.Contains(m[1], ".") {
				t.Errorf("row %s: %s is not written as folder.TestName", r.number, m[1])
				continue
			}
			if err := s.check(m[1]); err != nil {
				t.Errorf("row %s: %s: %v", r.number, m[1], err)
			}
			shown++
		}
		if shown == 0 {
			t.Errorf("row %s names no test", r.number)
		}
	}
	for n := 1; n <= 10; n++ {
		if !seen[strconv.Itoa(n)] {
			t.Errorf("the table has no row %d", n)
		}
	}
}

// dependencies are the modules that go.mod requires directly or that a Go file imports, with the reason.
func dependencies(t *testing.T) map[string]string {
	t.Helper()
	require := regexp.MustCompile(`(?m)^(?:require)?\s+([a-z0-9.-]+\.[a-z]+/\S+) v\S+(.*)$`)
	var modules []string
	wanted := map[string]string{}
	for _, m := range require.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		modules = append(modules, m[1])
		if !strings.Contains(m[2], "// indirect") {
			wanted[m[1]] = "go.mod requires it directly"
		}
	}
	if len(wanted) == 0 {
		t.Fatal("go.mod has no direct requirement: has its shape changed?")
	}
	for _, name := range files(t, ".go") {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			if m := moduleOf(spec, modules); m != "" {
				wanted[m] = name + " imports it"
			}
		}
	}
	return wanted
}

// TestEveryDependencyIsDecided: each has its half page.
func TestEveryDependencyIsDecided(t *testing.T) {
	decided := ""
	for _, doc := range files(t, ".md") {
		if strings.HasPrefix(doc, "docs/decisions/") {
			decided += read(t, doc)
		}
	}
	for m, why := range dependencies(t) {
		if !strings.Contains(decided, "`"+m+"`") && !strings.Contains(decided, "`"+m+"/") {
			t.Errorf("no file in docs/decisions names %s, though %s", m, why)
		}
	}
}

func moduleOf(spec *ast.ImportSpec, modules []string) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil || p == module || strings.HasPrefix(p, module+"/") {
		return ""
	}
	for _, m := range modules {
		if p == m || strings.HasPrefix(p, m+"/") {
			return m
		}
	}
	return ""
}

// arrows reads the table of docs/architecture.md: folder → folders that it may import.
func arrows(t *testing.T) map[string][]string {
	t.Helper()
	_, table, _ := strings.Cut(read(t, "docs/architecture.md"), "| folder | may import |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	may := map[string][]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 4 {
			t.Fatalf("not a row of the arrows' table: %s", line)
		}
		var to []string
		for _, m := range codeSpan.FindAllStringSubmatch(cells[2], -1) {
			to = append(to, m[1])
		}
		for _, m := range codeSpan.FindAllStringSubmatch(cells[1], -1) {
			may[m[1]] = append(to, m[1])
		}
	}
	if len(may) < 10 {
		t.Fatal("docs/architecture.md has lost its table of arrows")
	}
	return may
}

func within(folder, of string) bool { return folder == of || strings.HasPrefix(folder, of+"/") }

// TestArrowsAreAsDrawn holds the table of arrows to what the packages import.
func TestArrowsAreAsDrawn(t *testing.T) {
	may := arrows(t)
	wires := regexp.MustCompile(`^cmd/`)
	for _, name := range files(t, ".go") {
		folder := path.Dir(name)
		if strings.HasSuffix(name, "_test.go") || strings.HasSuffix(folder, "test") || strings.Contains(name, "/testdata/") || wires.MatchString(name) {
			continue
		}
		row := ""
		for of := range may {
			if within(folder, of) && len(of) > len(row) {
				row = of
			}
		}
		if row == "" {
			t.Errorf("%s is in no row of the arrows' table", folder)
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", name), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			to, ours := strings.CutPrefix(strings.Trim(spec.Path.Value, `"`), module+"/")
			if ours && !slices.ContainsFunc(may[row], func(of string) bool { return within(to, of) }) {
				t.Errorf("%s imports %s, and no arrow leads from %s there", name, to, row)
			}
		}
	}
}

// TestDecisionsAreNumberedAndListed: numbers have no gap, titles repeat them, and the list names every file.
func TestDecisionsAreNumberedAndListed(t *testing.T) {
	list := read(t, "docs/decisions/README.md")
	next := 1
	for _, doc := range files(t, ".md") {
		name := path.Base(doc)
		if path.Dir(doc) != "docs/decisions" || name == "README.md" {
			continue
		}
		number := fmt.Sprintf("%04d", next)
		next++
		if !strings.HasPrefix(name, number+"-") {
			t.Errorf("%s: the next number is %s", name, number)
		}
		if !strings.HasPrefix(read(t, doc), "# "+number+" ") {
			t.Errorf("%s: its title does not begin with %s", name, number)
		}
		if !strings.Contains(list, "("+name+")") {
			t.Errorf("docs/decisions/README.md does not list %s", name)
		}
	}
}

// TestLicenceFilesAreNamed: a licence text that somebody commits beside their data stands in docs/licences.md, too.
func TestLicenceFilesAreNamed(t *testing.T) {
	text := read(t, "docs/licences.md")
	for _, name := range files(t, ".txt") {
		base := path.Base(name)
		if (strings.Contains(base, "LICEN") || base == "OFL.txt") && !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/licences.md does not name %s", name)
		}
	}
}

// TestLicenceOfEveryDependencyIsNamed holds docs/licences.md to the modules that end up in the program or its tests.
func TestLicenceOfEveryDependencyIsNamed(t *testing.T) {
	text := read(t, "docs/licences.md")
	for m, why := range dependencies(t) {
		if !strings.Contains(text, "`"+m+"`") {
			t.Errorf("docs/licences.md does not name %s, though %s", m, why)
		}
	}
}
