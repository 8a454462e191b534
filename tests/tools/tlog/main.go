// Command tlog-verifier checks a tiled transparency log with Go's own implementation of one.
//
// It opens the checkpoint with the log's key, reads every entry, and proves each from nothing but tiles to the signed
// root: an answer to whether others can verify Assay's ledger that does not come from Assay's code.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8
const width = 1 << height

var client = &http.Client{Timeout: 30 * time.Second}

// tiles reads tiles over HTTP, by the paths of https://c2sp.org/tlog-tiles.
type tiles struct{ prefix string }

func (tiles) Height() int                     { return height }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	found := make([][]byte, 0, len(wanted))
	for _, tile := range wanted {
		content, err := get(t.prefix + "/" + path(strconv.Itoa(tile.L), tile.N, tile.W))
		if err != nil {
			return nil, err
		}
		found = append(found, content)
	}
	return found, nil
}

func path(level string, number int64, wide int) string {
	name := fmt.Sprintf("%03d", number%1000)
	for number >= 1000 {
		number /= 1000
		name = fmt.Sprintf("x%03d/%s", number%1000, name)
	}
	if wide < width {
		name += fmt.Sprintf(".p/%d", wide)
	}
	return "tile/" + level + "/" + name
}

func get(url string) ([]byte, error) {
	response, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(io.LimitReader(response.Body, 1<<26))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return content, err
}

// entries reads the first size entries from their bundles.
func entries(prefix string, size int64) ([][]byte, error) {
	var found [][]byte
	for first := int64(0); first < size; first += width {
		content, err := get(prefix + "/" + path("entries", first/width, int(min(width, size-first))))
		if err != nil {
			return nil, err
		}
		for len(content) > 0 {
			if len(content) < 2 || len(content)-2 < int(binary.BigEndian.Uint16(content)) {
				return nil, fmt.Errorf("the bundle at %d is cut", first)
			}
			end := 2 + int(binary.BigEndian.Uint16(content))
			found = append(found, content[2:end])
			content = content[end:]
		}
	}
	return found, nil
}

func verify(prefix, key string) (int64, tlog.Hash, error) {
	var root tlog.Hash
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return 0, root, err
	}
	content, err := get(prefix + "/checkpoint")
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
	all, err := entries(prefix, size)
	if err != nil {
		return 0, root, err
	}
	if int64(len(all)) != size {
		return 0, root, fmt.Errorf("%d entries of %d", len(all), size)
	}
	reader := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, tiles{prefix})
	for number, entry := range all {
		proof, err := tlog.ProveRecord(size, int64(number), reader)
		if err != nil {
			return 0, root, err
		}
		if err := tlog.CheckRecord(proof, size, root, int64(number), tlog.RecordHash(entry)); err != nil {
			return 0, root, fmt.Errorf("entry %d: %w", number, err)
		}
	}
	return size, root, nil
}

func main() {
	prefix := flag.String("prefix", "", "URL prefix of the log")
	key := flag.String("key", "", "verifier key of the log")
	flag.Parse()
	log.SetFlags(0)
	size, root, err := verify(strings.TrimSuffix(*prefix, "/"), *key)
	if err != nil {
		log.Fatalf("tlog-verifier: %v", err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"size": size, "root": root.String()}); err != nil {
		log.Fatal(err)
	}
}
