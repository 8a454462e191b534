// Command referrers-registry is an OCI registry that answers the referrers API.
//
// `crane registry serve` has no referrers API, so a client that meets it reads the fallback tag. This is its
// counterpart: the same blob store with the API switched on, so that the contract tests see both ways.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "host:port to listen on; port 0 takes a free one")
	disk := flag.String("disk", "", "existing folder for blobs; without it they stay in memory")
	flag.Parse()

	options := []registry.Option{registry.WithReferrersSupport(true)}
	if *disk != "" {
		options = append(options, registry.WithBlobHandler(registry.NewDiskBlobHandler(*disk)))
	}

	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	// The first line of standard output is the address in use: the caller's way to learn a port chosen here.
	fmt.Println(listener.Addr())

	server := &http.Server{Handler: registry.New(options...), ReadHeaderTimeout: 10 * time.Second}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-stop
		server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}
