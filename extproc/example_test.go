package extproc_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keyturn/keyturn/extproc"
	"github.com/keyturn/keyturn/keypool"
)

// A server with one pool of two keys. Package envoy renders the configuration of the Envoy that asks it; here the first message of an
// attempt stands for it.
func Example() {
	keys, err := keypool.NewPool(keypool.Config{
		Name: "openai", Keys: []keypool.KeyConfig{{Name: "first", Secret: "sk-first"}, {Name: "second", Secret: "sk-second"}},
	}, nil)
	if err != nil {
		log.Fatal(err)
	}
	server, err := extproc.New(extproc.Config{Pools: []extproc.Pool{{
		Keys: keys, Provider: "openai", Cluster: "openai", Authority: "api.openai.com", Header: "authorization", Scheme: "Bearer",
	}}})
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "keyturn")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "extproc.sock") // whoever reaches it can ask for keys
	l, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()

	ask("unix:"+socket, "/v1/responses", "openai")

	if err := server.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-served)
	// Output:
	// x-keyturn-cluster: openai
	// :authority: api.openai.com
	// accept-encoding: identity
	// authorization: Bearer sk-first
	// <nil>
}

// ask sends what Envoy does when an attempt begins, and prints the headers that it is told to set.
func ask(address, path, pool string) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	stream, err := extprocv3.NewExternalProcessorClient(conn).Process(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	headers := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		{Key: ":method", RawValue: []byte("POST")}, {Key: ":path", RawValue: []byte(path)}, {Key: "x-keyturn-pool", RawValue: []byte(pool)},
	}}
	err = stream.Send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: &extprocv3.HttpHeaders{Headers: headers},
	}})
	if err != nil {
		log.Fatal(err)
	}
	reply, err := stream.Recv()
	if err != nil {
		log.Fatal(err)
	}
	for _, h := range reply.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		fmt.Printf("%s: %s\n", h.GetHeader().GetKey(), h.GetHeader().GetRawValue())
	}
}
