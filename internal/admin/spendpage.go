package admin

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keyturn/keyturn/internal/page"
	"github.com/keyturn/keyturn/internal/record"
)

// shownSpend is how many rows the page shows; the CSV has all.
const shownSpend = 500

type (
	spendPage struct {
		Ways, Spans            []option
		By, Every, From, Until string
		CSV, Chart             string
		Problem                string
		Sum                    Spend
		Rows                   []Spend
		More                   int
	}
	option struct {
		Value, Label string
		Chosen       bool
	}
)

func (h *handler) spendPage(r *http.Request) *page.Frame {
	f := h.frame(r, "spend", "Spend", "/api/v1/spend")
	values := r.URL.Query()
	data := spendPage{By: values.Get("by"), Every: values.Get("every"), From: values.Get("from"), Until: values.Get("until")}
	if !slices.Contains(record.SpendNames, data.By) {
		data.By = record.ByClient
	}
	for _, name := range record.SpendNames {
		data.Ways = append(data.Ways, option{name, name, name == data.By})
	}
	for _, span := range []option{{"", "all of it", false}, {"hour", "hour", false}, {"day", "day", false}, {"month", "month", false}} {
		span.Chosen = span.Value == data.Every
		data.Spans = append(data.Spans, span)
	}
	asked := url.Values{"by": {data.By}}
	for name, v := range map[string]string{"every": data.Every, "from": data.From, "until": data.Until} {
		if v != "" {
			asked.Set(name, v)
		}
	}
	f.Twin = withQuery("/api/v1/spend", asked)
	asked.Set("format", "csv")
	data.CSV = withQuery("/api/v1/spend", asked)
	asked.Del("format")
	q, err := spendQuestion(asked)
	switch {
	case h.Records == nil:
		data.Problem = "Nothing is recorded: keyturn.yaml says record: off."
	case err != nil:
		data.Problem = "That cannot be summed up: " + err.Error() + "."
	default:
		h.fillSpend(r, &data, q)
	}
	if data.Problem == "" && len(data.Rows) > 0 {
		if data.Every == "" {
			asked.Set("every", string(record.Hour))
		}
		data.Chart = withQuery("/api/v1/spend", asked)
	}
	f.Data = data
	return f
}

func (h *handler) fillSpend(r *http.Request, data *spendPage, q record.SpendQuery) {
	rows, err := h.Records.Reader.Spend(r.Context(), q)
	if err != nil {
		data.Problem = h.whyUnreadable(r, err)
		return
	}
	var sum record.SpendRow
	for i := range rows {
		row := &rows[i]
		sum.Turns += row.Turns
		sum.Failed += row.Failed
		sum.Nano += row.Nano
		sum.Unpriced += row.Unpriced
		sum.Usage.Input += row.Usage.Input
		sum.Usage.Output += row.Usage.Output
		sum.Usage.CacheRead += row.Usage.CacheRead
		if i < shownSpend {
			data.Rows = append(data.Rows, viewSpend(row))
		}
	}
	data.Sum, data.More = viewSpend(&sum), max(0, len(rows)-shownSpend)
}

// spendCSV writes rows of spend for a spreadsheet.
func spendCSV(w http.ResponseWriter, q record.SpendQuery, rows []record.SpendRow) {
	w.Header().Set("Content-Type", "text/csv; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="keyturn-spend.csv"`)
	out := csv.NewWriter(w)
	head := []string{}
	if q.Every != "" {
		head = append(head, string(q.Every))
	}
	head = append(head, q.By...)
	_ = out.Write(append(head, "usd", "turns", "failed", "input", "cache_read", "cache_write", "output", "reasoning", "unpriced")) // Flush has the error
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	for i := range rows {
		row := &rows[i]
		var cells []string
		if q.Every != "" {
			cells = append(cells, row.At.UTC().Format(time.RFC3339))
		}
		for _, name := range q.By {
			cells = append(cells, cell(row.By[name]))
		}
		u := row.Usage
		_ = out.Write(append(cells, dollars(row.Nano), number(row.Turns), number(row.Failed), number(u.Input), number(u.CacheRead), number(u.CacheWrite), number(u.Output), number(u.Reasoning), number(row.Unpriced)))
	}
	out.Flush() // a reader that left needs no answer
}

// cell is a name as a spreadsheet takes it for a text: some begin a formula with these.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
