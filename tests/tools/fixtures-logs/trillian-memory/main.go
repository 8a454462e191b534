// Command trillian-memory is a Trillian log server and its sequencer in one process, over Trillian's own
// in-memory storage. It is the backend of the fixtures' CT log and Rekor v1 log: both want Trillian, and
// Trillian's own servers want a database, which a log that lives for a minute does not need.
//
// Once it serves it prints one line of JSON, the id of each tree asked for, as a string: a tree's id is an int64,
// which JSON readers round.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/client"
	"github.com/google/trillian/extension"
	trillianlog "github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/server/interceptor"
	"github.com/google/trillian/storage/memory"
	"github.com/google/trillian/util/clock"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	batchSize      = 50
	sequenceEvery  = 50 * time.Millisecond // how long a signer waits for its entry at most
	createDeadline = 30 * time.Second
)

func main() {
	address := flag.String("address", "127.0.0.1:0", "gRPC address to listen on")
	trees := flag.String("trees", "", "comma-separated names of the log trees to make")
	flag.Parse()
	if *trees == "" {
		log.Fatal("-trees is required")
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	go func() { log.Fatal(serve(listener)) }()
	ids, err := createTrees(listener.Addr().String(), strings.Split(*trees, ","))
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(ids); err != nil {
		log.Fatal(err)
	}
	select {}
}

// serve runs the log server and its sequencer until the listener fails.
func serve(listener net.Listener) error {
	treeStorage := memory.NewTreeStorage()
	registry := extension.Registry{
		AdminStorage:  memory.NewAdminStorage(treeStorage),
		LogStorage:    memory.NewLogStorage(treeStorage, monitoring.InertMetricFactory{}),
		QuotaManager:  quota.Noop(),
		MetricFactory: monitoring.InertMetricFactory{},
	}
	rpc := grpc.NewServer(grpc.UnaryInterceptor(interceptor.ErrorWrapper))
	trillian.RegisterTrillianAdminServer(rpc, admin.New(registry, nil))
	trillian.RegisterTrillianLogServer(rpc, server.NewTrillianLogRPCServer(registry, clock.System))
	sequencer := trillianlog.NewOperationManager(trillianlog.OperationInfo{
		Registry: registry, BatchSize: batchSize, NumWorkers: 1, RunInterval: sequenceEvery, TimeSource: clock.System,
	}, trillianlog.NewSequencerManager(registry, 0))
	go sequencer.OperationLoop(context.Background())
	return rpc.Serve(listener)
}

// createTrees makes one initialised log tree a name and returns their ids.
func createTrees(address string, names []string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), createDeadline)
	defer cancel()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	ids := map[string]string{}
	for _, name := range names {
		tree, err := client.CreateAndInitTree(ctx, &trillian.CreateTreeRequest{Tree: &trillian.Tree{
			TreeState:       trillian.TreeState_ACTIVE,
			TreeType:        trillian.TreeType_LOG,
			DisplayName:     name,
			MaxRootDuration: durationpb.New(0),
		}}, trillian.NewTrillianAdminClient(connection), trillian.NewTrillianLogClient(connection))
		if err != nil {
			return nil, err
		}
		ids[name] = strconv.FormatInt(tree.TreeId, 10)
	}
	return ids, nil
}
