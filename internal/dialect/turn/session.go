package turn

// A Session is one request of a client's with Keyturn's tools in it, and the one response that its turns are merged into. It is
// a value without I/O: the caller sends Request to the provider, hands the answer in, runs the calls that a turn ends with,
// and sends the next Request. It is not safe for concurrent use.
//
// A turn that streams is read with Write and End, one that does not with Whole. When either returns calls, the caller hands
// each one's result to Settle, then goes on with Continue (the next turn: Request has its body) or, where that is not due, ends
// the response with Finish:
//
//	s := d.Open(request, options)
//	for {
//		answer := send(s.Request())
//		for chunk := range answer {
//			out, state = s.Write(out[:0], chunk) // out goes to the client
//			…
//		}
//		out, turn = s.End(out[:0])
//		if len(turn.Calls) == 0 {
//			break
//		}
//		for i, call := range turn.Calls {
//			out = s.Settle(out[:0], i, run(call))
//		}
//		if turn.Mixed || !s.Continue(false) {
//			out = s.Finish(out[:0])
//			break
//		}
//	}
//
// Methods that take dst append to it what the client gets, and return it; what they are handed is theirs until they return.
type Session interface {
	// Request is the body of the current turn's request. It does not change until Continue.
	Request() []byte
	// Model is the model that the request names; "" if none.
	Model() string
	// Streams reports whether the client asked for server-sent events, and so whether every turn's answer is a stream.
	Streams() bool
	// Reads reports whether answers must be read at all: no tools were put in, and nothing of the answer needs a change, when
	// it is false; the request may differ from the client's all the same.
	Reads() bool

	// Write takes the next bytes of the turn's stream.
	Write(dst, p []byte) ([]byte, State)
	// End says that the turn's stream has ended, whole or cut off.
	End(dst []byte) ([]byte, Turn)
	// Whole takes a turn's answer that is not a stream. Body has the client's answer once the response is over.
	Whole(body []byte) Turn
	// Body is the client's answer where it did not ask for a stream: valid when the last turn has no calls to run, or after
	// Finish.
	Body() []byte

	// Settle gives the result of Turn.Calls[i] of the turn that has ended. Each call is settled once, in any order.
	Settle(dst []byte, i int, r Result) []byte
	// Continue makes the next turn's request of the calls' results. With last, the model may call no more tools. It returns
	// false when there can be no next turn, since the client's budget of tokens is used up: then Finish is due.
	Continue(last bool) bool
	// Finish ends the response with what the turn that has ended said last: after a mixed turn, or when Continue returned false.
	Finish(dst []byte) []byte

	// Again drops what was held back of a turn that failed before it showed anything (Turn.Failure), so that the same
	// Request can be sent again.
	Again()
	// Relay hands out what was held back of such a turn, error and all: the response is over with it.
	Relay(dst []byte) []byte
	// Fail ends a stream with an error of Keyturn's own, in the form that the dialect has for errors after a 200. Calls that
	// were shown and are not settled are ended as far as the dialect can say so.
	Fail(dst []byte, e Error) []byte
	// KeepAlive is something that clients read over: a comment, or a ping event. It may stand between any two pieces that
	// Write, End and Settle returned.
	KeepAlive(dst []byte) []byte

	// Explain tells whether an error that the provider answered the first turn with comes of what only Keyturn knew and has
	// forgotten (Options.Memory), and what the client should read in its place.
	Explain(status int, body []byte) (Error, bool)
}

// Counter is a Session that may ask the provider to count tokens although the client did not.
type Counter interface {
	// CountsUnasked reports whether the request does so.
	CountsUnasked() bool
}

// Crowded is a Session that may have had no room for some of the tools.
type Crowded interface {
	// LeftOut is how many of Options.Tools.
	LeftOut() int
}

// State says how a turn's stream goes on.
type State uint8

// The states.
const (
	Going   State = iota // more is to come
	Over                 // the event that ends the turn was read; what follows it in the stream says nothing about the turn
	Failing              // an error came before the turn showed anything; it is held back, and Turn.Failure will have it
)

// Options are what Open puts into a request and how it shows.
type Options struct {
	Tools []Tool // what the model may call, in this order; Names are all different. Empty: none is put in, but what earlier responses showed is still understood
	// Hidden leaves Keyturn's calls out of what the client sees. Otherwise they are shown where the dialect has a form for
	// them: mcp_call items in Responses. The other dialects always hide them.
	Hidden bool
	// Offers decides, of the model that a request names and the number of tools that the client has, whether Tools go in. Nil: they do.
	Offers func(model string, tools int) bool
	// Instructions go with Tools: what their servers say of their use, for the model alone. They stand after the client's own.
	Instructions string
	// Counting says how the tokens of several turns are told to the client.
	Counting Counting
	// ModelName is the name by which models know a server's tool: for calls that a client replays whose tool is not offered now.
	ModelName func(server, tool string) string
	// Catalogue are the tools that SearchTool finds and CallTool calls, where Tools are those two. Empty: a model calls tools by their names.
	Catalogue []Tool
	// MaxTools is how many tools the request may have, the client's included: AnyTools, or 0 for turn.MaxTools. The client's come first.
	MaxTools int
	// NoUsage keeps what asks the provider to count tokens out of requests that do not have it: it refuses that.
	NoUsage bool
	// Count has answers counted where no tools go in, too: a stream whose client does not ask for its tokens is read for them.
	Count bool
	// Memory keeps what the client's next request needs and the client cannot replay. Nil remembers nothing.
	Memory Memory
	// Gone reports that nobody waits for the response any more: work on a long request ends. Nil: somebody always does.
	Gone func() bool
}

// Counting is how the tokens of several turns are told to the client. Turn.Usage is always that of one.
type Counting uint8

// The ways of counting.
const (
	UsualCounting Counting = iota // LastTurn in dialects whose clients take it for the size of the context (Chat, Messages), else SumOfTurns
	SumOfTurns
	LastTurn
)

// Sums reports whether the turns are added up, usual being what the dialect does unless it is told.
func (c Counting) Sums(usual bool) bool { return c == SumOfTurns || c == UsualCounting && usual }

// Wanted reports whether tools go into a request that names a model and has so many tools of the client's.
func (o *Options) Wanted(model string, tools int) bool {
	return o.Offers == nil || o.Offers(model, tools)
}

// Offered are the tools that go into a request.
func (o *Options) Offered(model string, tools int) []Tool {
	if !o.Wanted(model, tools) {
		return nil
	}
	return o.Tools
}

// Left reports, at every thousandth element of a list or so, whether nobody waits any more.
func (o *Options) Left(element int) bool { return o.Gone != nil && element%1024 == 1023 && o.Gone() }

// Tool is one of Keyturn's tools, as a model is told of it.
type Tool struct {
	Name        string // by which the model calls it: [a-zA-Z0-9_-]{1,64}
	Server      string // label of the MCP server that has it
	Tool        string // its name there
	Description string
	Schema      []byte // JSON Schema of the arguments, an object; as the server sent it
}

// Turn is what one request to the provider came to.
type Turn struct {
	Calls []Call // of Keyturn's tools, complete, in the model's order; each is to be settled. Empty: the response is over
	// Mixed says that the model called tools of the client's in the same turn: the response ends with it (Finish), and
	// the client's next request brings their results.
	Mixed bool
	// MaxCalls is how many of Calls may still run by the client's own limit (Responses: max_tool_calls); 0: it set none; -1: none
	// of them may. The others are settled with an error.
	MaxCalls int
	Failure  *Failure // the turn failed before it showed anything; see Again and Relay
	Cut      bool     // the stream ended without the event that ends a turn; its calls were not complete and are not here
	Model    string   // the model that answered
	Reason   string   // why the model stopped, in the dialect's word; "" if it did not say
	Usage    Usage    // of this turn alone
}

// Call is one call of a tool of Keyturn's.
type Call struct {
	ID        string  // the provider's
	Name      string  // as the model called it
	Tool      Tool    // the tool of that name; zero if none is offered: the call is settled with an error
	Arguments []byte  // as the model wrote them: JSON if all is well; empty if none came, which is not {}
	Known     *Result // what it comes to, where nothing is to be run for it; nil: the tool is
}

// Result is what a call came to.
type Result struct {
	Parts   []Part     // in order; may be empty
	IsError bool       // the tool says that it failed; Parts say how
	Error   *ToolError // the call itself failed; nil if it did not. Parts are empty then
}

// Part is one piece of a result.
type Part struct {
	Kind PartKind
	Text string // of TextPart; of others a text for dialects that have no form for them, such as "image image/png, 2048 bytes"
	Data []byte // the bytes of an image, audio or file
	MIME string
	Name string // a file's name; may be empty
}

// PartKind is what a Part is.
type PartKind uint8

// The kinds of parts.
const (
	TextPart PartKind = iota
	ImagePart
	AudioPart
	FilePart
)

// ToolError is a call that failed otherwise than by the tool's own word.
type ToolError struct {
	Kind    ToolErrorKind
	Code    int    // of the JSON-RPC error, or the HTTP status
	Message string // for the model and the client
}

// ToolErrorKind says where a call failed: the three forms of an mcp_call's error in Responses.
type ToolErrorKind uint8

// The kinds of errors.
const (
	ExecutionError ToolErrorKind = iota // mcp_tool_execution_error: timeout, limits, a name that is not offered, arguments that are no JSON
	ProtocolError                       // mcp_protocol_error: the server answered with a JSON-RPC error
	HTTPError                           // http_error: the server could not be reached, or refused
)

// Failure is an error that came within a 200, before the turn showed anything.
type Failure struct {
	Error
	Status int    // the HTTP status that the provider has for such an error; 0 if it is not known
	Body   []byte // the error as the body of an answer with that status
}

// Usage counts tokens.
type Usage struct {
	Input, Output, CacheRead, CacheWrite, Reasoning int64
}

// Memory keeps bytes for a client's later requests. It forgets: by age, and when it is full. A Memory belongs to one pool and one
// client, so that no conversation reads another's. Implementations are safe for concurrent use.
type Memory interface {
	// Get returns what Put kept. It is not to be changed.
	Get(key string) ([]byte, bool)
	// Put keeps value, which must not change afterwards, in the place of what had the key.
	Put(key string, value []byte)
}
