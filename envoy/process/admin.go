package process

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// How often Envoy's admin interface is asked, and how long it has for an answer.
const (
	pollEvery    = 25 * time.Millisecond
	adminTimeout = 2 * time.Second
)

// maxAnswer bounds what is read of an answer of the admin interface, in bytes.
const maxAnswer = 1 << 20

// adminAPI talks to the admin interface of one Envoy, at the address that this Envoy wrote to a file: so it never
// reaches another one on the same machine.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/operations/admin
type adminAPI struct {
	file   string // holds the address once Envoy has bound it
	dir    string // folder to which a socket path in it is relative
	client *http.Client
}

func newAdminAPI(file, dir string) *adminAPI {
	a := &adminAPI{file: file, dir: dir}
	a.client = &http.Client{Timeout: adminTimeout, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			network, address, err := a.address()
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}}
	return a
}

// address reads where the admin interface listens: "host:port", or the path of a socket.
func (a *adminAPI) address() (network, address string, err error) {
	text, err := os.ReadFile(a.file)
	if err != nil {
		return "", "", err
	}
	address = strings.TrimSpace(string(text))
	if _, _, err := net.SplitHostPort(address); err == nil && !strings.Contains(address, "/") {
		return "tcp", address, nil
	}
	if address != "" && !filepath.IsAbs(address) && address[0] != '@' {
		address = filepath.Join(a.dir, address)
	}
	return "unix", address, nil
}

// ask returns the body of a 200; an answer of another status is an error that repeats it.
func (a *adminAPI) ask(ctx context.Context, method, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return "", err
	}
	res, err := a.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, lastLine(body))
	}
	return string(body), err
}

// Admin returns the address of Envoy's admin interface: "host:port", with the port that Envoy got when the
// configuration said 0, or "unix:path". It is "" until Envoy has bound it, which it has when Ready returns nil.
func (p *Process) Admin() string {
	network, address, err := p.api.address()
	switch {
	case err != nil || address == "":
		return ""
	case network == "unix":
		return "unix:" + address
	}
	return address
}

// AdminTransport sends requests to Envoy's admin interface, whatever host they name.
func (p *Process) AdminTransport() http.RoundTripper { return p.api.client.Transport }

// Ready waits until Envoy serves: its admin interface answers /ready with 200. It returns early, with what Wait would
// return, when Envoy ends: a refused configuration, a port that is taken. When ctx ends first, the error repeats
// Envoy's last answer and its last log lines.
func (p *Process) Ready(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		_, err := p.api.ask(ctx, http.MethodGet, "/ready")
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			if p.err == nil {
				return errors.New("envoy was stopped before it was ready")
			}
			return fmt.Errorf("%s: %w", p.files.config, p.err)
		case <-ctx.Done():
			return fmt.Errorf("envoy is not ready: %w; /ready: %w%s", ctx.Err(), err, quote(p.out.log.lines()))
		case <-tick.C:
		}
	}
}

// drain has Envoy close its listeners and waits until no request is open, for at most RunConfig.Drain. Whatever goes
// wrong ends the drain: what follows is SIGTERM anyway. Where the configuration says which listeners are for what comes
// in, only those are closed: an open request may begin another attempt, which goes through the inner listener.
func (p *Process) drain(ctx context.Context) {
	if p.cfg.Drain == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Drain)
	defer cancel()
	path := "/drain_listeners?graceful"
	if hasInbound(p.cfg.Bootstrap) {
		path += "&inboundonly"
	}
	if _, err := p.api.ask(ctx, http.MethodPost, path); err != nil {
		return
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		stats, err := p.api.ask(ctx, http.MethodGet, "/stats?filter=downstream_rq_active$")
		if err != nil || openRequests(stats) == 0 {
			return
		}
		select {
		case <-p.done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// openRequests adds up http.<stat_prefix>.downstream_rq_active over all listeners but the admin interface, which is
// answering this very question.
// https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/stats
func openRequests(stats string) (n uint64) {
	lines := bufio.NewScanner(strings.NewReader(stats))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		if !strings.HasPrefix(name, "http.") || strings.HasPrefix(name, "http.admin.") {
			continue
		}
		if v, err := strconv.ParseUint(value, 10, 64); err == nil {
			n += v
		}
	}
	return n
}
