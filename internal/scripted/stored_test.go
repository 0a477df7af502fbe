package scripted_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/conversations"
	"github.com/openai/openai-go/v3/responses"
	"github.com/stretchr/testify/require"

	"github.com/keyturn/keyturn/internal/scripted"
)

func TestPreviousResponse(t *testing.T) {
	for _, stream := range []bool{false, true} {
		_, srv := strict(t, scripted.Config{}, caller())
		ask := func(body object) object {
			body["model"], body["stream"] = "m", stream
			b, err := json.Marshal(body)
			require.NoError(t, err)
			r := post(t, srv, "/v1/responses", string(b))
			require.Equal(t, 200, r.status, r.body)
			var whole object
			if !stream {
				require.NoError(t, json.Unmarshal([]byte(r.body), &whole))
				return whole
			}
			events := dataOf(r.body)
			require.NoError(t, json.Unmarshal([]byte(events[len(events)-1]), &whole))
			return whole["response"].(object)
		}
		first := ask(object{"input": "hi"})
		said := list(t, first["output"])
		a, w := member(t, said[1], "call_id"), member(t, said[2], "call_id")
		chained := func(input ...any) object { return object{"previous_response_id": first["id"], "input": input} }
		refuse := func(body object) string { return refused(t, srv, "/v1/responses", set(body, "model", "m")) }
		require.Contains(t, refuse(chained(object{"role": "user", "content": "and?"})), "No tool output found for function call "+a+".")
		require.Contains(t, refuse(chained(output(a, "5"))), "No tool output found for function call "+w+".")
		require.Contains(t, refuse(chained(said[0], said[1], said[2], output(a, "5"), output(w, "sun"))), "Duplicate item found with id")
		second := ask(chained(output(a, "5"), output(w, "sun")))
		require.Contains(t, fmt.Sprint(second["output"]), "done: 5", "the model knows what it was told before")
		require.Equal(t, first["id"], second["previous_response_id"])
		third := ask(object{"previous_response_id": second["id"], "input": "thanks"})
		ask(chained(output(a, "6"), output(w, "rain"))) // another branch of the same conversation
		require.NotEqual(t, second["id"], third["id"])

		lost := ask(object{"input": "hi", "store": false})
		require.Contains(t, refuse(object{"previous_response_id": lost["id"], "input": []any{}}), "Previous response with id '"+member(t, lost, "id")+"' not found.")
		require.Contains(t, refuse(object{"previous_response_id": "resp_9", "conversation": "conv_1", "input": []any{}}), "Mutually exclusive")
	}
}

func TestStoredResponses(t *testing.T) {
	p, srv := strict(t, scripted.Config{}, caller())
	c := openAIClient(t, srv)
	params := responses.ResponseNewParams{Model: "m", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")}}
	made, err := c.Responses.New(t.Context(), params)
	require.NoError(t, err)
	got, err := c.Responses.Get(t.Context(), made.ID, responses.ResponseGetParams{})
	require.NoError(t, err)
	require.JSONEq(t, made.RawJSON(), got.RawJSON())
	items, err := c.Responses.InputItems.List(t.Context(), made.ID, responses.InputItemListParams{})
	require.NoError(t, err)
	require.Len(t, items.Data, 1)
	require.Equal(t, "hi", items.Data[0].Content.OfInputItemContentList[0].Text)
	require.NotEmpty(t, items.Data[0].ID)
	_, err = c.Responses.Cancel(t.Context(), made.ID)
	var refusal *openai.Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "Cannot cancel a synchronous response.", refusal.Message)
	require.NoError(t, c.Responses.Delete(t.Context(), made.ID))
	_, err = c.Responses.Get(t.Context(), made.ID, responses.ResponseGetParams{})
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, 404, refusal.StatusCode)
	require.Contains(t, refusal.Message, "not found")
	require.Equal(t, scripted.Stored, p.Requests()[1].Endpoint)

	params.Background = openai.Bool(true)
	made, err = c.Responses.New(t.Context(), params)
	require.NoError(t, err)
	require.EqualValues(t, "queued", made.Status)
	require.Empty(t, made.Output)
	got, err = c.Responses.Get(t.Context(), made.ID, responses.ResponseGetParams{})
	require.NoError(t, err)
	require.EqualValues(t, "completed", got.Status)
	_, err = c.Responses.Cancel(t.Context(), made.ID)
	require.NoError(t, err)

	p.Reset()
	_, err = c.Responses.Get(t.Context(), made.ID, responses.ResponseGetParams{})
	require.NoError(t, err, "what is stored stays")
}

func TestConversationObjects(t *testing.T) {
	_, srv := strict(t, scripted.Config{}, caller())
	c := openAIClient(t, srv)
	conv, err := c.Conversations.New(t.Context(), conversations.ConversationNewParams{})
	require.NoError(t, err)
	requireComplete(t, conv)
	ask := func(input ...any) object {
		return object{"model": "m", "conversation": object{"id": conv.ID}, "input": input}
	}
	user := object{"role": "user", "content": "hi"}
	status, first := send(t, srv, "/v1/responses", ask(user))
	require.Equal(t, 200, status)
	require.Equal(t, object{"id": conv.ID}, first["conversation"])
	said := list(t, first["output"])
	a, w := member(t, said[1], "call_id"), member(t, said[2], "call_id")
	require.Contains(t, refused(t, srv, "/v1/responses", ask(user)), "No tool output found for function call "+a)
	require.Contains(t, refused(t, srv, "/v1/responses", ask(said[0], said[1], said[2], output(a, "5"), output(w, "sun"))), "Duplicate item found with id")
	status, second := send(t, srv, "/v1/responses", ask(output(a, "5"), output(w, "sun")))
	require.Equal(t, 200, status, "%v", second)
	items, err := c.Conversations.Items.List(t.Context(), conv.ID, conversations.ItemListParams{})
	require.NoError(t, err)
	require.Len(t, items.Data, 1+3+2+2)
	require.Equal(t, "message", items.Data[0].Type, "the newest first")
	got, err := c.Conversations.Get(t.Context(), conv.ID)
	require.NoError(t, err)
	require.Equal(t, conv.ID, got.ID)
	_, err = c.Conversations.Delete(t.Context(), conv.ID)
	require.NoError(t, err)
	require.Contains(t, refused(t, srv, "/v1/responses", ask(user)), "Conversation with id '"+conv.ID+"' not found.")

	_, err = c.Conversations.New(t.Context(), conversations.ConversationNewParams{})
	require.NoError(t, err)
	_, srv = provider(t, scripted.OK(""))
	require.Equal(t, 404, post(t, srv, "/v1/conversations", "{}").status, "only a strict provider stores")
	require.Equal(t, 404, do(t, client(t), newRequest(t, http.MethodGet, srv.URL+"/v1/responses/resp_1", "")).status)
}

// What is stored is bounded: the oldest is forgotten first.
func TestStoreIsBounded(t *testing.T) {
	_, srv := strict(t, scripted.Config{KeepRequests: 2}, scripted.OK("hi"))
	var ids []any
	for range 3 {
		_, got := send(t, srv, "/v1/responses", question("/v1/responses"))
		ids = append(ids, got["id"])
	}
	for i, want := range []int{404, 200, 200} {
		r := newRequest(t, http.MethodGet, fmt.Sprint(srv.URL, "/v1/responses/", ids[i]), "")
		require.Equal(t, want, do(t, client(t), r).status)
	}
}

// A strict provider reads bodies that it does not remember.
func TestStrictWithoutMemory(t *testing.T) {
	p, srv := strict(t, scripted.Config{KeepBytes: -1}, caller())
	require.Contains(t, refused(t, srv, "/v1/responses", object{"model": "m", "input": []any{output("call_1", "")}}), "No tool call found")
	require.Nil(t, p.Requests()[0].Body)
	_, got := send(t, srv, "/v1/responses", question("/v1/responses"))
	require.Contains(t, fmt.Sprint(got["output"]), "function_call")
}
