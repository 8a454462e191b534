// Command tlog-proof-verifier checks the records of an unpacked evidence bundle with Go's own implementation of
// transparency logs.
//
// It opens each proof's checkpoint with the log's key, and leads each record by its proof (https://c2sp.org/tlog-proof) to
// the signed root: an answer to whether others can verify what Assay exports that does not come from Assay's code.
package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// checkpoint opens a signed checkpoint with the log's key.
func checkpoint(content []byte, key string) (int64, tlog.Hash, error) {
	var root tlog.Hash
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return 0, root, err
	}
	opened, err := note.Open(content, note.VerifierList(verifier))
	if err != nil {
		return 0, root, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return 0, root, fmt.Errorf("no checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return 0, root, err
	}
	decoded, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(decoded) != len(root) {
		return 0, root, fmt.Errorf("no root: %v", err)
	}
	copy(root[:], decoded)
	return size, root, nil
}

// verifyBundle proves every record of an unpacked bundle that has a proof (https://c2sp.org/tlog-proof).
func verifyBundle(folder, key string) (int, error) {
	proofs, err := filepath.Glob(filepath.Join(folder, "ledger", "*.tlog-proof"))
	if err != nil || len(proofs) == 0 {
		return 0, errors.Join(errors.New("no proofs"), err)
	}
	for _, file := range proofs {
		name := strings.TrimSuffix(filepath.Base(file), ".tlog-proof")
		if err := verifyRecord(folder, name, file, key); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	return len(proofs), nil
}

func verifyRecord(folder, name, file, key string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, signed, found := strings.Cut(string(content), "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 2 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("no tlog-proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	if err != nil {
		return err
	}
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		var step tlog.Hash
		decoded, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(decoded) != len(step) {
			return fmt.Errorf("no hash: %v", err)
		}
		copy(step[:], decoded)
		proof = append(proof, step)
	}
	size, root, err := checkpoint([]byte(signed), key)
	if err != nil {
		return err
	}
	entry, err := os.ReadFile(filepath.Join(folder, "ledger", name+".entry.json"))
	if err != nil {
		return err
	}
	record, err := os.ReadFile(filepath.Join(folder, "records", name+".json"))
	if err != nil {
		return err
	}
	sum := sha256.Sum256(record)
	if !strings.Contains(string(entry), `"sha256:`+hex.EncodeToString(sum[:])+`"`) {
		return errors.New("the entry is that of another record")
	}
	return tlog.CheckRecord(proof, size, root, index, tlog.RecordHash(entry))
}

func main() {
	folder := flag.String("bundle", "", "folder of the unpacked bundle")
	key := flag.String("key", "", "verifier key of the log")
	flag.Parse()
	log.SetFlags(0)
	records, err := verifyBundle(*folder, *key)
	if err != nil {
		log.Fatalf("tlog-proof-verifier: %v", err)
	}
	fmt.Printf("{\"records\": %d}\n", records)
}
