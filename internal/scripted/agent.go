package scripted

import (
	"strings"

	"github.com/keyturn/keyturn/internal/scripted/talk"
)

// Skill is a kind of tool that an Agent knows how to use.
type Skill struct {
	// Suffix is the end of the tool's name: "_weather".
	Suffix string
	// Wants says whether the user's text asks for such a tool.
	Wants func(text string) bool
}

// Weather is a tool that knows the weather of a place that the text names: "in Paris". Add is one that adds two numbers or more.
var (
	Weather = Skill{Suffix: "_weather", Wants: func(text string) bool {
		_, ok := placeIn(text)
		return ok
	}}
	Add = Skill{Suffix: "_add", Wants: func(text string) bool { return len(numbers.FindAllString(text, 2)) == 2 }}
)

// Agent is a model that uses tools without being told how: it calls, in parallel, each tool that it has a skill for and that the
// user's last text asks for, with arguments of the text that fit the tool's schema, and then says in words what they answered,
// and "Done.". Where there is nothing to call it says plain. Asked to think, it thinks before it calls. Without skills it has
// Weather and Add.
func Agent(plain string, skills ...Skill) Answer {
	if len(skills) == 0 {
		skills = []Skill{Weather, Add}
	}
	a := ToolUser(func(c talk.Conversation) []talk.Part {
		if len(c.Latest) > 0 {
			return []talk.Part{talk.Text(report(c))}
		}
		var parts []talk.Part
		for _, s := range skills {
			if tool, ok := c.Tool(s.Suffix); ok && s.Wants(c.LastUserText) {
				parts = append(parts, use(c, tool))
			}
		}
		switch {
		case len(parts) == 0:
			return []talk.Part{talk.Text(plain)}
		case c.Thinking:
			return append([]talk.Part{talk.Think("I need a tool for this.")}, parts...)
		}
		return parts
	})
	a.name = "agent"
	return a
}

// report says in words what the tools answered.
func report(c talk.Conversation) string {
	var b strings.Builder
	for _, r := range c.Latest {
		name := r.Name
		if name == "" {
			name = "The tool"
		}
		b.WriteString(name)
		if r.IsError {
			b.WriteString(" failed: ")
		} else {
			b.WriteString(" says: ")
		}
		b.WriteString(strings.TrimSpace(r.Text))
		if r.Images > 0 {
			b.WriteString(" (with a picture)")
		}
		b.WriteString(". ")
	}
	return b.String() + "Done."
}
