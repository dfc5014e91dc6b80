package demo

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"rsc.io/qr"
)

// views holds the templates. An error in a template stops the program when it starts.
var views = template.Must(template.ParseFS(files, "page/*.html"))

// render renders a template. It panics if that fails, because only a bug can cause it and the tests
// would find it.
func render(name string, data any) string {
	var text strings.Builder
	if err := views.ExecuteTemplate(&text, name, data); err != nil {
		panic(fmt.Sprintf("demo: render %s: %v", name, err))
	}
	return text.String()
}

const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// pages registers the page, its files and its actions.
func (d *Demo) pages(mux *http.ServeMux) {
	actions := http.NewServeMux()
	actions.HandleFunc("POST /demo/fault", d.postFault)
	actions.HandleFunc("POST /demo/calm", d.postCalm)
	actions.HandleFunc("POST /demo/payment", d.postPayment)
	actions.HandleFunc("POST /demo/resume", d.postResume)
	mux.Handle("POST /demo/", http.NewCrossOriginProtection().Handler(actions))
	mux.HandleFunc("GET /{$}", d.getPage)
	mux.HandleFunc("GET /demo/events", d.events)
	mux.HandleFunc("GET /demo/sticker/{machine}", d.getSticker)
	for _, name := range []string{"demo.css", "demo.js", "icon.svg"} {
		mux.HandleFunc("GET /demo/"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.ServeFileFS(w, r, files, "page/"+name)
		})
	}
}

// pageView is the data of the page.
type pageView struct {
	Run, Bridge    string
	Sequence       int64
	Loopback       bool // the stickers lead to this computer only
	Strip, Trouble any
	Machines       []machineView
	Lines          []line
	Parts          []string
	Cards          []testCard

	Lifetime, Silence int // creditLifetime and confirmWithin in seconds
}

// testCard is a card number of the simulated checkout.
type testCard struct{ Number, Effect string }

func testCards() []testCard {
	return []testCard{
		{"4242 4242 4242 4242", "pays"},
		{"4000 0025 0000 3155", "pays after one more confirmation"},
		{"4000 0000 0000 0002", "is declined"},
		{"4000 0000 0000 9995", "has insufficient funds"},
		{"4100 0000 0000 0019", "is blocked as fraud"},
	}
}

func (d *Demo) getPage(w http.ResponseWriter, r *http.Request) {
	d.ask(r.Context())
	v := pageView{
		Lifetime: int(creditLifetime.Seconds()),
		Silence:  int(confirmWithin.Seconds()),
		Run:      d.stream.run,
		Cards:    testCards(),
		Parts:    []string{"phone", "Stripe", "Notehub", "machine"},
	}
	v.Lines, v.Sequence = d.wire.after(0)
	slices.Reverse(v.Lines)
	d.mu.Lock()
	v.Bridge, v.Strip, v.Trouble = d.notepayURL, d.strip(), d.trouble()
	for _, m := range d.machines {
		v.Machines = append(v.Machines, d.view(m, time.Now()))
	}
	d.mu.Unlock()
	if at, err := url.Parse(v.Bridge); err == nil {
		v.Loopback = slices.Contains([]string{"127.0.0.1", "localhost", "::1"}, at.Hostname())
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(render("page.html", v)))
}

func (d *Demo) postFault(w http.ResponseWriter, r *http.Request) {
	fault := r.PostFormValue("fault")
	if !d.switchFault(fault, r.PostFormValue("on") == "true") {
		http.Error(w, "no such switch", http.StatusNotFound)
		return
	}
	anchor := "#trouble"
	_, m, _ := strings.Cut(fault, "-")
	if slices.ContainsFunc(d.machines, func(other *machine) bool { return other.key == m }) {
		anchor = "#name-" + m
	}
	d.back(w, r, anchor)
}

func (d *Demo) postCalm(w http.ResponseWriter, r *http.Request) {
	d.calm()
	d.back(w, r, "")
}

// back redraws the page after an action. Browsers without JavaScript follow the redirect to the
// page.
func (d *Demo) back(w http.ResponseWriter, r *http.Request, anchor string) {
	d.redraw()
	http.Redirect(w, r, "/"+anchor, http.StatusSeeOther)
}

// getSticker serves /demo/sticker/KEY.svg, the QR code of a machine.
func (d *Demo) getSticker(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	bridge := d.notepayURL
	d.mu.Unlock()
	for _, m := range d.machines {
		if r.PathValue("machine") != m.key+".svg" || bridge == "" {
			continue
		}
		picture, err := sticker(bridge + "/pay?device=" + m.uid)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "image/svg+xml")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write([]byte(picture))
		return
	}
	http.NotFound(w, r)
}

// sticker returns a QR code as SVG, one unit a module, with the quiet zone of four modules that
// readers need.
func sticker(address string) (string, error) {
	const quiet = 4
	code, err := qr.Encode(address, qr.M)
	if err != nil {
		return "", fmt.Errorf("encode %s as a QR code: %w", address, err)
	}
	var path strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			length := 0
			for code.Black(x+length, y) { // coordinates outside of the code are white
				length++
			}
			if length > 0 {
				fmt.Fprintf(&path, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, length, length)
				x += length
			}
		}
	}
	side := code.Size + 2*quiet
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges">`+
		`<rect width="100%%" height="100%%" fill="#fff"/><path d="%s"/></svg>`, side, side, path.String()), nil
}
