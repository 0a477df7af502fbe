package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keyturn/keyturn/internal/config"
)

// adminTokenEnv is where the commands that ask a running keyturn find its token, where no configuration says it.
const adminTokenEnv = "KEYTURN_ADMIN_TOKEN"

// asking is how a running keyturn is asked.
type asking struct {
	config, admin string
	json          bool
	from, until   string
}

// where says where the admin endpoint is.
func (a *asking) where(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.config, "config", "c", "keyturn.yaml", "the configuration `file`, which says where the admin endpoint is and its token")
	cmd.Flags().StringVar(&a.admin, "admin", "", "ask at this `address` (host:port or unix:PATH) in place of the configuration's; the token is "+adminTokenEnv+"'s then")
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
}

func (a *asking) flags(cmd *cobra.Command) {
	a.where(cmd)
	cmd.Flags().StringVar(&a.from, "from", "", "what began since this `time`: RFC 3339, or how long ago, such as 24h")
	cmd.Flags().StringVar(&a.until, "until", "", "what began before this `time`")
}

// endpoint is an admin endpoint.
type endpoint struct {
	client *http.Client
	base   string
	token  string
}

// open finds the admin endpoint.
func (a *asking) open() (*endpoint, error) {
	address, token := a.admin, os.Getenv(adminTokenEnv)
	if address == "" {
		cfg, err := config.Load(a.config)
		if err != nil {
			return nil, err
		}
		address, token = cfg.Admin.Listen, cfg.Admin.Token
	}
	e := &endpoint{client: &http.Client{}, base: "http://" + address, token: token}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		e.base = "http://localhost"
		e.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}
	}
	return e, nil
}

// get asks for a path. The caller closes the answer's body.
func (e *endpoint) get(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, e.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	if e.token != "" {
		req.Header.Set("Authorization", "Bearer "+e.token)
	}
	res, err := e.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("is keyturn running? %w", err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	var problem struct {
		Error struct{ Message string } `json:"error"`
	}
	const most = 64 << 10
	body, err := io.ReadAll(io.LimitReader(res.Body, most))
	if err != nil || json.Unmarshal(body, &problem) != nil || problem.Error.Message == "" {
		return nil, fmt.Errorf("the admin endpoint answered %s", res.Status)
	}
	return nil, errors.New(problem.Error.Message)
}

// read reads an answer into v, or prints it as it is where v is nil.
func (e *endpoint) read(ctx context.Context, path string, query url.Values, out io.Writer, v any) error {
	res, err := e.get(ctx, path, query)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if v == nil {
		_, err = io.Copy(out, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(v)
}

// events calls each for every server-sent event, until ctx ends or the endpoint does.
func (e *endpoint) events(ctx context.Context, path string, query url.Values, each func(name string, data []byte) error) error {
	res, err := e.get(ctx, path, query)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	in, name := bufio.NewReader(res.Body), ""
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("the admin endpoint ended the stream: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if n, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			name = string(n)
		} else if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			if err := each(name, data); err != nil {
				return err
			}
		}
	}
}

// took writes a duration in seconds for a table.
func took(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// shown is a text for a table, where nothing stands for "": what a terminal would take for a command of its own is left out.
func shown(s string) string {
	if s == "" {
		return "-"
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c >= 0x7f && c < 0xa0 {
			return -1
		}
		return c
	}, s)
}
