// Evaluates expressions in the CEL environment of a Kubernetes API server, for tests/fixtures/recorded/cel.
//
// Reads a JSON list of {"expression", "input"} from standard input and writes a list of answers, in the same order, to
// standard output: {"value": …} (see encode), {"error": "compile"} or {"error": "run"}. The names of `input` are
// variables of type dyn.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"strconv"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
)

type question struct {
	Expression string         `json:"expression"`
	Input      map[string]any `json:"input"`
}

type answer struct {
	Value any    `json:"value,omitempty"`
	Error string `json:"error,omitempty"`
}

func main() {
	var questions []question
	decoder := json.NewDecoder(os.Stdin)
	decoder.UseNumber()
	if err := decoder.Decode(&questions); err != nil {
		fail(err)
	}
	answers := make([]answer, 0, len(questions))
	for _, asked := range questions {
		answers = append(answers, evaluate(asked))
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answers); err != nil {
		fail(err)
	}
	if _, err := os.Stdout.Write(out.Bytes()); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func evaluate(asked question) answer {
	base := environment.MustBaseEnvSet(version.MajorMinor(1, 34), true)
	var variables []cel.EnvOption
	for name := range asked.Input {
		variables = append(variables, cel.Variable(name, cel.DynType))
	}
	set, err := base.Extend(environment.VersionedOptions{
		IntroducedVersion: version.MajorMinor(1, 0),
		EnvOptions:        variables,
	})
	if err != nil {
		fail(err)
	}
	env := set.NewExpressionsEnv()
	ast, issues := env.Compile(asked.Expression)
	if issues.Err() != nil {
		return answer{Error: "compile"}
	}
	program, err := env.Program(ast)
	if err != nil {
		return answer{Error: "compile"}
	}
	bindings := map[string]any{}
	for name, value := range asked.Input {
		bindings[name] = numbers(value)
	}
	value, _, err := program.Eval(bindings)
	if err != nil {
		return answer{Error: "run"}
	}
	return answer{Value: encode(value)}
}

// numbers makes of JSON's numbers ints where they are, as the API server's own decoder does.
func numbers(value any) any {
	switch value := value.(type) {
	case json.Number:
		if whole, err := value.Int64(); err == nil {
			return whole
		}
		double, err := value.Float64()
		if err != nil {
			fail(err)
		}
		return double
	case []any:
		for i := range value {
			value[i] = numbers(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = numbers(value[key])
		}
	}
	return value
}

// encode gives each value as a pair of its type and its content, so that 1, 1u and 1.0 stay apart.
func encode(value ref.Val) any {
	switch value := value.(type) {
	case types.Null:
		return []any{"null_type", nil}
	case types.Bool:
		return []any{"bool", bool(value)}
	case types.Int:
		return []any{"int", strconv.FormatInt(int64(value), 10)}
	case types.Uint:
		return []any{"uint", strconv.FormatUint(uint64(value), 10)}
	case types.Double:
		if math.IsNaN(float64(value)) {
			return []any{"double", "NaN"}
		}
		return []any{"double", strconv.FormatUint(math.Float64bits(float64(value)), 16)}
	case types.String:
		return []any{"string", string(value)}
	case types.Bytes:
		return []any{"bytes", base64.StdEncoding.EncodeToString([]byte(value))}
	case types.Timestamp:
		return []any{"google.protobuf.Timestamp", strconv.FormatInt(value.Unix(), 10), value.Nanosecond()}
	case types.Duration:
		return []any{"google.protobuf.Duration", strconv.FormatInt(int64(value.Duration), 10)}
	case *types.Type:
		return []any{"type", value.TypeName()}
	case *types.Optional:
		if !value.HasValue() {
			return []any{"optional_type"}
		}
		return []any{"optional_type", encode(value.GetValue())}
	case traits.Lister:
		entries := []any{}
		for it := value.Iterator(); it.HasNext() == types.True; {
			entries = append(entries, encode(it.Next()))
		}
		return []any{"list", entries}
	case traits.Mapper:
		type pair struct {
			order string
			entry []any
		}
		var pairs []pair
		for it := value.Iterator(); it.HasNext() == types.True; {
			key := it.Next()
			encoded := []any{encode(key), encode(value.Get(key))}
			pairs = append(pairs, pair{fmt.Sprint(encoded[0]), encoded})
		}
		sort.Slice(pairs, func(i, j int) bool { return pairs[i].order < pairs[j].order })
		entries := []any{}
		for _, one := range pairs {
			entries = append(entries, one.entry)
		}
		return []any{"map", entries}
	}
	return []any{value.Type().TypeName()}
}
