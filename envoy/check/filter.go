package check

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/keyturn/keyturn/envoy"
	"github.com/keyturn/keyturn/internal/wire"
)

const (
	minMessageTimeout    = time.Second
	minMaxMessageTimeout = 10 * time.Minute
)

// attachment is Keyturn's filter in a chain.
type attachment struct {
	filter *hcmv3.HttpFilter
	config *extprocv3.ExternalProcessor // nil when it is not in the document
}

// keyturn finds Keyturn in a chain, nil when it is not there.
func (c *checker) keyturn(chain []*hcmv3.HttpFilter) *attachment {
	for _, f := range chain {
		if c.isKeyturn(f) {
			config, _ := typedAs(f.GetTypedConfig(), &extprocv3.ExternalProcessor{})
			return &attachment{f, config}
		}
	}
	return nil
}

// isKeyturn knows the filter by its name, or by where it leads.
func (c *checker) isKeyturn(f *hcmv3.HttpFilter) bool {
	if f.Name == envoy.FilterName {
		return true
	}
	config, ok := typedAs(f.GetTypedConfig(), &extprocv3.ExternalProcessor{})
	if !ok || c.want.Processor == "" {
		return false
	}
	for _, a := range endpoints(c.clusters[config.GetGrpcService().GetEnvoyGrpc().GetClusterName()]) {
		if c.isProcessor(a) == surely {
			return true
		}
	}
	return false
}

// filter checks Keyturn's filter in the inner listener's chain, and notes the cluster that it leads to.
func (c *checker) filter(where string, a *attachment) {
	if a.config == nil {
		c.find(filterConfig, where, a.filter.GetTypedConfig().GetTypeUrl())
		return
	}
	c.note(a)
	if processor := a.config.GetGrpcService().GetEnvoyGrpc().GetClusterName(); c.clusters[processor] == nil {
		c.find(processorPresent, where, strconv.Quote(processor))
	}
	c.modes(where, a.config)
	c.exchange(where, a.config)
	c.mutations(where, a.config)
	c.forwarding(where, a.config.ForwardRules)
}

// note keeps the cluster that a filter leads to.
func (c *checker) note(a *attachment) {
	if name := a.config.GetGrpcService().GetEnvoyGrpc().GetClusterName(); c.clusters[name] != nil {
		c.processors[name] = true
	}
}

// modes checks what is sent to Keyturn and when.
func (c *checker) modes(where string, f *extprocv3.ExternalProcessor) {
	m := f.GetProcessingMode()
	if m.GetRequestHeaderMode() == extprocv3.ProcessingMode_SKIP {
		c.find(modeRequestHeaders, where, "SKIP")
	}
	if m.GetResponseHeaderMode() == extprocv3.ProcessingMode_SKIP {
		c.find(modeResponseHeaders, where, "SKIP")
	}
	if b := m.GetRequestBodyMode(); b != extprocv3.ProcessingMode_NONE {
		c.find(modeRequestBody, where, b.String())
	}
	if b := m.GetResponseBodyMode(); b != extprocv3.ProcessingMode_NONE {
		c.find(modeResponseBody, where, b.String())
	}
	if !f.AllowModeOverride {
		c.find(modeOverride, where, "false")
	}
	if len(f.AllowedOverrideModes) > 0 {
		c.find(modesAllowed, where, "a list")
	}
	if f.ObservabilityMode {
		c.find(observability, where, "true")
	}
}

// toolTime is how long tools of one of the pools may run, 0 when none has tools.
func toolTime(pools []envoy.Pool) (most time.Duration) {
	for _, pool := range pools {
		if pool.Tools {
			most = max(most, cmp.Or(pool.ToolTime, envoy.DefaultToolTime))
		}
	}
	return most
}

// exchange checks what Keyturn may answer and how long it may take, and what it is told beside the messages.
func (c *checker) exchange(where string, f *extprocv3.ExternalProcessor) {
	if d := f.MessageTimeout; d == nil || d.AsDuration() < minMessageTimeout {
		c.find(timeoutMessage, where, said(d != nil, d.AsDuration()))
	}
	if d := f.MaxMessageTimeout; d == nil || d.AsDuration() < minMaxMessageTimeout {
		c.find(timeoutMaxMessage, where, said(d != nil, d.AsDuration()))
	} else if toolTime(c.want.Pools) > 0 && d.AsDuration() < envoy.MaxMessageTimeout {
		c.find(timeoutTools, where, d.AsDuration().String())
	}
	if code := f.GetStatusOnError().GetCode(); code != typev3.StatusCode_ServiceUnavailable {
		c.find(statusOnError, where, said(f.StatusOnError != nil, code))
	}
	if f.FailureModeAllow {
		c.find(failureAllow, where, "true")
	}
	if f.DisableImmediateResponse {
		c.find(immediateResponse, where, "true")
	}
	if a := f.GetRouteCacheAction(); a != extprocv3.ExternalProcessor_CLEAR {
		c.find(routeCache, where, a.String())
	}
	if n := f.GetMetadataOptions().GetReceivingNamespaces().GetUntyped(); !slices.Contains(n, wire.Namespace) {
		c.find(metadataReceive, where, list(n))
	}
	if slices.ContainsFunc(envoy.ResponseAttributes, func(a string) bool { return !slices.Contains(f.ResponseAttributes, a) }) {
		c.find(attributesAsked, where, list(f.ResponseAttributes))
	}
}

// mutations checks that Envoy makes the changes that Keyturn asks for.
func (c *checker) mutations(where string, f *extprocv3.ExternalProcessor) {
	rules := f.GetMutationRules()
	if !rules.GetAllowAllRouting().GetValue() {
		c.find(mutationRouting, where, said(rules.GetAllowAllRouting() != nil, "false"))
	}
	if !rules.GetAllowEnvoy().GetValue() {
		c.find(mutationEnvoy, where, said(rules.GetAllowEnvoy() != nil, "false"))
	}
	if rules.GetDisallowAll().GetValue() {
		c.find(mutationNone, where, "true")
	}
	if rules.GetDisallowSystem().GetValue() {
		c.find(mutationSystem, where, "true")
	}
	if rules.GetDisallowExpression() != nil {
		c.find(mutationSome, where, strconv.Quote(rules.DisallowExpression.Regex))
	}
}

// repeatedNames are headers that clients send and a turn must repeat. The last stands for those that nobody knows.
var repeatedNames = []string{"accept", "user-agent", "anthropic-version", "anthropic-beta", "openai-beta", "x-stainless-lang", "x-others"}

// forwarding checks that what an attempt reads, and a turn repeats, is sent.
func (c *checker) forwarding(where string, rules *extprocv3.HeaderForwardingRules) {
	pools := c.want.Pools
	if rules.GetAllowedHeaders() == nil && rules.GetDisallowedHeaders() == nil {
		c.find(forwardAll, where, "not set")
		return
	}
	sent := func(name string) bool {
		return (rules.GetAllowedHeaders() == nil || matches(rules.GetAllowedHeaders(), name)) && !matches(rules.GetDisallowedHeaders(), name)
	}
	hidden := func(name string) bool { return !sent(name) }
	names := slices.Clone(envoy.SentHeaders)
	for _, p := range envoy.SentPrefixes {
		names = append(names, p+"*")
	}
	if slices.ContainsFunc(pools, func(p envoy.Pool) bool { return p.BYOK }) {
		names = append(names, envoy.CredentialHeaders(pools)...)
	}
	if missing := slices.DeleteFunc(names, sent); len(missing) > 0 {
		c.find(forwardRules, where, "without "+strings.Join(missing, ", "))
	}
	if missing := slices.DeleteFunc(slices.Clone(repeatedNames), sent); len(missing) > 0 {
		s := forwardSome
		if toolTime(pools) > 0 {
			s = forwardTurns
		}
		c.find(s, where, "without "+strings.Join(missing, ", "))
		return
	}
	if with := slices.DeleteFunc(slices.Clone(envoy.HiddenHeaders(pools)), hidden); len(with) > 0 {
		c.find(forwardSecrets.wanting("disallowed_headers with %s", strings.Join(envoy.HiddenHeaders(pools), ", ")), where, "with "+strings.Join(with, ", "))
	}
}

// matches reports whether one of the patterns takes a header's name.
func matches(l *matcherv3.ListStringMatcher, name string) bool {
	return slices.ContainsFunc(l.GetPatterns(), func(m *matcherv3.StringMatcher) bool {
		fold := func(s string) string {
			if m.GetIgnoreCase() {
				return strings.ToLower(s)
			}
			return s
		}
		switch p := m.GetMatchPattern().(type) {
		case *matcherv3.StringMatcher_Exact:
			return name == fold(p.Exact)
		case *matcherv3.StringMatcher_Prefix:
			return strings.HasPrefix(name, fold(p.Prefix))
		case *matcherv3.StringMatcher_Suffix:
			return strings.HasSuffix(name, fold(p.Suffix))
		case *matcherv3.StringMatcher_Contains:
			return strings.Contains(name, fold(p.Contains))
		case *matcherv3.StringMatcher_SafeRegex:
			re, err := regexp.Compile("^(?:" + p.SafeRegex.GetRegex() + ")$")
			return err != nil || re.MatchString(name)
		}
		return true // a kind of pattern that cannot be judged here
	})
}

// said is a value, or that there is none.
func said(set bool, v any) string {
	if !set {
		return "not set"
	}
	switch v := v.(type) {
	case string:
		return v
	case interface{ String() string }:
		return v.String()
	case uint32:
		return strconv.FormatUint(uint64(v), 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	}
	return "set"
}

func list(s []string) string { return said(len(s) > 0, strings.Join(s, ", ")) }
