package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/keyturn/keyturn/internal/wire"
)

// shapes reports whether Envoy's own answers are given another form.
func (m *manager) shapes() bool {
	return m.GetLocalReplyConfig().GetBodyFormat() != nil || slices.ContainsFunc(m.GetLocalReplyConfig().GetMappers(), rewrites)
}

func rewrites(m *hcmv3.ResponseMapper) bool {
	return m.StatusCode != nil || m.Body != nil || m.BodyFormatOverride != nil
}

// localReplies checks that the inner listener shapes Envoy's own answers for Keyturn, and leaves Keyturn's alone.
func (c *checker) localReplies(m *manager) {
	if !m.shapes() {
		c.find(processorReply, m.where(), "not set")
		return
	}
	config := m.LocalReplyConfig
	for i, mapper := range config.Mappers {
		switch {
		case spares(mapper.Filter): // not about Keyturn's replies
		case takes(mapper.Filter) && !rewrites(mapper) && config.BodyFormat == nil:
			return // Keyturn's replies stop here, unchanged
		case rewrites(mapper):
			c.find(localReplyKeyturn, m.where(), fmt.Sprintf("mappers[%d] rewrites them", i))
			return
		}
	}
	if config.BodyFormat != nil {
		c.find(localReplyKeyturn, m.where(), "body_format rewrites them")
	}
}

// onDetails is a condition on an answer's details: whether it is turned round, and the text.
var onDetails = regexp.MustCompile(`(!?)response\.code_details *(?:\.startsWith\(|==) *['"]([^'"]*)['"]`)

// spares reports whether a condition is surely not about Keyturn's answers: it is on Envoy's flags, which they do not have, or on
// other details. One that cannot be read here is about all answers.
func spares(f *accesslogv3.AccessLogFilter) bool {
	if f.GetResponseFlagFilter() != nil {
		return true
	}
	expression := expressionOf(f)
	return !strings.Contains(expression, "||") && slices.ContainsFunc(onDetails.FindAllStringSubmatch(expression, -1), func(m []string) bool {
		return (m[1] == "!") == strings.HasPrefix(m[2], wire.DetailsPrefix)
	})
}

// takes reports whether a condition is about Keyturn's answers alone.
func takes(f *accesslogv3.AccessLogFilter) bool {
	return mentions(f, wire.ErrorHeader) || mentions(f, wire.DetailsPrefix)
}

// expressionOf is a condition that is written in CEL, "" where it is not.
func expressionOf(f *accesslogv3.AccessLogFilter) string {
	cel, _ := typedAs(f.GetExtensionFilter().GetTypedConfig(), &celv3.ExpressionFilter{})
	return cel.GetExpression()
}
