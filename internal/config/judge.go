package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/keyturn/keyturn/internal/setting"
	"github.com/keyturn/keyturn/keypool"
)

// Each setting has one judge: the package that uses it. It names the setting by its path; here it gets its file and line.

// judged notes what the judge of what stands at path has found, but for what only follows from a problem that was noted before.
func (r *reader) judged(path string, found []*setting.Problem) {
	var all []problem
	for _, p := range found {
		at, beside := setting.Within(path, p.Path), ""
		if p.Beside != "" {
			beside = setting.Within(path, p.Beside)
		}
		if r.follows(path, at) || beside != "" && r.follows(path, beside) {
			continue
		}
		if !r.given(at) && r.given(beside) {
			at = beside
		}
		all = append(all, r.at(at, p.Text))
	}
	for _, p := range all {
		r.add(p)
	}
}

// follows says whether the value at path, or the mapping that it is in, has a problem already, within what is judged.
func (r *reader) follows(judged, path string) bool {
	in := above(path)
	field := strings.LastIndexByte(path, '.') > strings.LastIndexByte(path, '[')
	return r.failed(path) || field && in != judged && r.failed(in)
}

// KeyPool is what the file says about the keys of a pool, in the words of package keypool.
func (c *Config) KeyPool(p *Pool) keypool.Config {
	kc := keypool.Config{Name: p.Name, Policy: p.Policy, Cooldown: p.Cooldown, ReviveAfter: p.ReviveAfter, Secret: []byte(c.Fingerprint)}
	for _, k := range p.Keys {
		kc.Keys = append(kc.Keys, keypool.KeyConfig{Name: k.Name, Secret: k.Secret, Group: k.Group})
	}
	return kc
}

// judgeKeyPool has keypool judge the pool at path. origins say where its keys stand.
func (r *reader) judgeKeyPool(path string, p *Pool, origins []origin) {
	var others []*setting.Problem
	for _, found := range setting.Of((&Config{}).KeyPool(p).Validate()) {
		var i, j int
		if _, err := fmt.Sscanf(found.Path+" "+found.Beside, "keys[%d] keys[%d]", &i, &j); err != nil {
			if !errors.Is(found, keypool.ErrNoKeys) {
				others = append(others, found)
			} else if !r.strays[path] && !r.failed(within(path, "keys")) && !r.failed(within(path, "keys_file")) {
				r.refuse(path, "has no key; write keys: [{env: NAME}], or keys_file: PATH")
			}
			continue
		}
		k, other := p.Keys[i], p.Keys[j]
		switch {
		case errors.Is(found, keypool.ErrDuplicateName) && origins[i].unnamed:
			r.refuseIn(origins[i], "its name by default, %s, is taken by %s; give that one another", k.Name, placeOf(origins[j]))
		case errors.Is(found, keypool.ErrDuplicateName):
			r.refuseIn(origins[i], "the name %s is taken by %s; give each key its own", k.Name, placeOf(origins[j]))
		case k.Secret != "": // else it could not be read, which was said
			r.refuseIn(origins[i], "holds the same key (%s) as %s; remove one", k.From, whereIs(origins[j], other))
		}
	}
	r.judged(path, others)
}
