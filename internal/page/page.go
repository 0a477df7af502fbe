// Package page is what the operator's page looks like: templates, the styles and modules that go with them, and the policy that keeps a browser
// from running anything else. It renders what it is given, asks nobody, and decides nothing.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"io"
	"net/http"
	"strings"
)

// Policy is the Content-Security-Policy of every page: nothing from elsewhere, and nothing that stands within a page.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'"

// AssetPath is where Assets serves.
const AssetPath = "/static/"

// Frame is what surrounds a view.
type Frame struct {
	View    string // a name of Views, or signin, confirm or problem
	Title   string
	Here    string // path and query of the view, "" where it does not change by itself
	Twin    string // path and query of its JSON twin; "": none
	Base    string // scheme and authority that the browser sees, for curl
	Version string
	CSRF    string // for the forms
	Acts    bool   // who looks may change something
	Role    string // in words; "": there are no roles
	Signed  bool   // there is a cookie to be rid of
	Token   bool   // curl needs one
	Flash   string // the answer to what was just done
	Lost    int64  // turns that the recorder lost
	Data    any    // of the view
}

// View is an entry of the navigation.
type View struct{ Name, Path, Title string }

// Views are the entries of the navigation, in order.
var Views = []View{
	{"pools", "/", "Pools"}, {"turns", "/turns", "Turns"}, {"tools", "/tools", "Tools"}, {"spend", "/spend", "Spend"}, {"running", "/running", "Running"},
}

//go:embed templates static
var files embed.FS

var templates = func() map[string]*template.Template {
	all := map[string]*template.Template{}
	for _, name := range []string{"pools", "turns", "turn", "tools", "spend", "running", "confirm", "signin", "problem"} {
		t := template.New("frame.html").Funcs(functions)
		all[name] = template.Must(t.ParseFS(files, "templates/frame.html", "templates/parts.html", "templates/"+name+".html"))
	}
	return all
}()

// Write writes a whole page.
func Write(w io.Writer, f *Frame) error { return execute(w, f, "frame.html") }

// Fragment writes what changes of a page.
func Fragment(w io.Writer, f *Frame) error { return execute(w, f, "view") }

// Rows writes the rows of turns that come while a page is looked at.
func Rows(w io.Writer, turns any) error {
	return templates["turns"].ExecuteTemplate(w, "turnrows", turns)
}

func execute(w io.Writer, f *Frame, name string) error {
	var out bytes.Buffer // a page whose template fails is no page
	if err := templates[f.View].ExecuteTemplate(&out, name, f); err != nil {
		return err
	}
	_, err := out.WriteTo(w)
	return err
}

// Headers sets what a browser must know of every page.
func Headers(h http.Header) {
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", Policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

// Build names the files of AssetPath as they are, so that a browser keeps them, and an open page notices that they changed.
var Build = func() string {
	sum := sha256.New()
	for _, name := range assetNames {
		b, err := files.ReadFile("static/" + name)
		if err != nil {
			panic(err) // they are built in
		}
		sum.Write(b)
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}()

var assetNames = []string{"page.css", "page.js", "live.js", "chart.js", "uplot.js", "uplot.css", "icon.svg", "uplot.LICENSE"}

var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".LICENSE": "text/plain; charset=utf-8",
}

// Assets serves the styles and modules. They are the same for everybody.
func Assets() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimPrefix(r.URL.Path, AssetPath)
		at := strings.LastIndexByte(name, '.')
		b, err := files.ReadFile("static/" + name)
		if at < 0 || err != nil || assetTypes[name[at:]] == "" {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", assetTypes[name[at:]])
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		if r.URL.Query().Get("v") == Build {
			h.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		_, _ = w.Write(b) // a browser that left needs none
	})
}
