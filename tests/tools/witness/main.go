// Command witness-agent holds the key of a litewitness that a test runs, as an ssh-agent would.
//
// It is told the seed of an Ed25519 key in hexadecimal, prints the key's fingerprint, by which litewitness asks for it, and
// listens on a Unix socket.
package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"flag"
	"fmt"
	"log"
	"net"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func serve(socket, text string) error {
	seed, err := hex.DecodeString(text)
	if err != nil || len(seed) != ed25519.SeedSize {
		return fmt.Errorf("no seed of %d bytes in hexadecimal", ed25519.SeedSize)
	}
	key := ed25519.NewKeyFromSeed(seed)
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		return err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return err
	}
	fmt.Println(ssh.FingerprintSHA256(public))
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go agent.ServeAgent(keyring, connection)
	}
}

func main() {
	socket := flag.String("socket", "", "path of the Unix socket to listen on")
	seed := flag.String("seed", "", "seed of the key, in hexadecimal")
	flag.Parse()
	log.Fatalf("witness-agent: %v", serve(*socket, *seed))
}
