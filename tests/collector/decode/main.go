// Command decode tells what the pinned Collector's own decoders make of bodies, so that tests can compare them with the relay's.
//
// Standard input holds cases: a kind (one byte), the length of the body (four bytes, little-endian), the body. Standard
// output has one line a case, fields parted by tabs: "ok", the count, and the content in hex where the kind asks for it; or
// "refused" and the reason. Kinds: t, m, l are a traces, metrics or logs request in protobuf, and T, M, L the same in JSON;
// p and P are of profiles;
// u, n, k, q and U, N, K, Q are these with content, which is the request as the Collector would write it in protobuf; g is a gzip
// body, counted in bytes, with its content.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/pprofile/pprofileotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

type request interface {
	UnmarshalProto([]byte) error
	UnmarshalJSON([]byte) error
	MarshalProto() ([]byte, error)
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	defer out.Flush()
	var head [5]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return
			}
			panic(err)
		}
		body := make([]byte, binary.LittleEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(in, body); err != nil {
			panic(err)
		}
		count, content, err := judge(head[0], body)
		if err != nil {
			fmt.Fprintf(out, "refused\t%q\n", err.Error())
		} else {
			fmt.Fprintf(out, "ok\t%d\t%s\n", count, hex.EncodeToString(content))
		}
	}
}

func judge(kind byte, body []byte) (count int, content []byte, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic: %v", reason)
		}
	}()
	if kind == 'g' {
		content, err = inflate(body)
		return len(content), content, err
	}
	var decoded request
	var items func() int
	switch kind {
	case 't', 'u', 'T', 'U':
		traces := ptraceotlp.NewExportRequest()
		decoded, items = traces, func() int { return traces.Traces().SpanCount() }
	case 'm', 'n', 'M', 'N':
		metrics := pmetricotlp.NewExportRequest()
		decoded, items = metrics, func() int { return metrics.Metrics().DataPointCount() }
	case 'l', 'k', 'L', 'K':
		logs := plogotlp.NewExportRequest()
		decoded, items = logs, func() int { return logs.Logs().LogRecordCount() }
	case 'p', 'q', 'P', 'Q':
		profiles := pprofileotlp.NewExportRequest()
		decoded, items = profiles, func() int { return profiles.Profiles().ProfileCount() }
	default:
		panic(fmt.Sprintf("no kind is called %q", kind))
	}
	if kind >= 'a' {
		err = decoded.UnmarshalProto(body)
	} else {
		err = decoded.UnmarshalJSON(body)
	}
	if err != nil {
		return 0, nil, err
	}
	if bytes.IndexByte([]byte("unkq"), kind|0x20) >= 0 {
		content, err = decoded.MarshalProto()
	}
	return items(), content, err
}

func inflate(body []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(reader)
}
