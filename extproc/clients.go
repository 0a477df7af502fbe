package extproc

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keyturn/keyturn/internal/wire"
)

// Client is one client of the gateway and its key.
type Client struct {
	Name string // what logs show of it
	Key  string // sent as x-keyturn-key, Authorization: Bearer, x-api-key or api-key
}

// String returns the client's name, so that printing a Client does not print its key.
func (c Client) String() string { return c.Name }

// GoString is String, for %#v.
func (c Client) GoString() string { return c.Name }

// clientSet knows clients by hashes of their keys, under a secret that nobody else has: neither the time that a look-up takes nor a picture of
// the memory that it is in tells anything of a key. It does not change.
type clientSet struct {
	secret [sha256.Size]byte
	byHash map[[sha256.Size]byte]string
}

func newClientSet(clients []Client) *clientSet {
	s := &clientSet{byHash: make(map[[sha256.Size]byte]string, len(clients))}
	_, _ = rand.Read(s.secret[:]) // never fails
	for _, c := range clients {
		if c.Key != "" {
			s.byHash[s.hash(c.Key)] = c.Name
		}
	}
	return s
}

func (s *clientSet) hash(key string) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, s.secret[:])
	h.Write([]byte(key))
	h.Sum(sum[:0])
	return sum
}

// named returns the name of the client that has this key.
func (s *clientSet) named(key string) (name string, known bool) {
	name, known = s.byHash[s.hash(key)]
	return name, known
}

// SetClients replaces the clients that the gateway lets in, where Envoy asks for it (envoy.service.auth.v3.Authorization).
func (s *Server) SetClients(clients []Client) { s.clients.Store(newClientSet(clients)) }

// authorization answers Envoy's question who a client is.
type authorization struct {
	authv3.UnimplementedAuthorizationServer
	server *Server
}

// Check implements envoy.service.auth.v3.Authorization. It reads no more of a request than the headers that a client's key may stand in.
func (a *authorization) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	attributes := r.GetAttributes()
	names := wire.ClientKeySources
	if attributes.GetContextExtensions()[wire.OwnExtension] != "" {
		names = names[:1] // in the others is the client's own credential for the provider
	}
	headers := attributes.GetRequest().GetHttp().GetHeaders()
	clients := a.server.clients.Load()
	for _, name := range names {
		key := strings.TrimSpace(headers[name])
		if token := bearer([]byte(key)); token != nil && name == wire.AuthorizationHeader {
			key = string(token)
		}
		if key == "" {
			continue
		}
		if client, known := clients.named(key); known {
			return welcome(client), nil
		}
	}
	return &authv3.CheckResponse{
		Status: status.New(codes.Unauthenticated, "").Proto(),
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status: &typev3.HttpStatus{Code: typev3.StatusCode_Unauthorized},
		}},
	}, nil
}

// welcome lets a client in under this name, and its key no further.
func welcome(client string) *authv3.CheckResponse {
	return &authv3.CheckResponse{
		Status: status.New(codes.OK, "").Proto(),
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{{
				Header:       &corev3.HeaderValue{Key: wire.ClientHeader, Value: client},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
			}},
			HeadersToRemove: []string{wire.ClientKeyHeader},
		}},
	}
}
