package main

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

var (
	plainMessage = message(false)
	gzipMessage  = message(true)
)

// field is one of a protobuf message, of a number up to 15, whose content has a length.
func field(number byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	return append(binary.AppendUvarint([]byte{number<<3 | 2}, uint64(len(content))), content...)
}

// message is one length-prefixed gRPC message: a trace export of one span, 1.5 kB, half of it random as ids are.
func message(zipped bool) []byte {
	noise := make([]byte, 1400)
	_, _ = rand.Read(noise[:750])
	attribute := field(9, field(1, []byte("noise")), field(2, field(7, noise)))
	span := field(2, field(1, noise[:16]), field(2, noise[16:24]), field(5, []byte("soak")), attribute)
	body := field(1, field(2, span))
	flag := byte(0)
	if zipped {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(body)
		_ = w.Close()
		body, flag = out.Bytes(), 1
	}
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(body))), body...)
}

// Wire is one HTTP/2 connection whose frames are written by hand.
type Wire struct {
	conn     net.Conn
	framer   *http2.Framer
	mutex    sync.Mutex // Of the framer's writes and the header encoder.
	block    bytes.Buffer
	encoder  *hpack.Encoder
	next     uint32
	token    string
	answers  chan bool // For each stream that the far end has ended, whether with OK; closed when nothing more can be read.
	goneAway chan struct{}
	once     sync.Once
}

func newWire(conn net.Conn) *Wire {
	w := &Wire{conn: conn, framer: http2.NewFramer(conn, conn), next: 1, answers: make(chan bool, 4096), goneAway: make(chan struct{})}
	w.encoder = hpack.NewEncoder(&w.block)
	return w
}

func openClient(conn net.Conn, token string) (*Wire, error) {
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return nil, err
	}
	w := newWire(conn)
	w.token = token
	w.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := w.framer.WriteSettings(); err != nil {
		return nil, err
	}
	go w.read()
	return w, nil
}

// read acknowledges what must be acknowledged, and tells of the streams that end.
func (w *Wire) read() {
	defer close(w.answers)
	for {
		frame, err := w.framer.ReadFrame()
		if err != nil {
			return
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				w.write(func() { _ = w.framer.WriteSettingsAck() })
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				w.write(func() { _ = w.framer.WritePing(true, f.Data) })
			}
		case *http2.GoAwayFrame:
			w.once.Do(func() { close(w.goneAway) })
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				w.answers <- statusOf(f) == "0"
			}
		case *http2.DataFrame:
			if f.StreamEnded() {
				w.answers <- false
			}
		}
	}
}

func statusOf(f *http2.MetaHeadersFrame) string {
	for _, field := range f.Fields {
		if field.Name == "grpc-status" {
			return field.Value
		}
	}
	return ""
}

func (w *Wire) write(frames func()) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	frames()
}

func (w *Wire) headers(id uint32, end bool, pairs ...string) {
	w.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = w.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	_ = w.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block.Bytes(), EndHeaders: true, EndStream: end})
}

// call sends a whole request, or all of it but its last half when it is not to be finished.
func (w *Wire) call(finished bool) uint32 {
	body, encoding := plainMessage, "identity"
	if mathrand.Intn(2) == 0 {
		body, encoding = gzipMessage, "gzip"
	}
	var id uint32
	w.write(func() {
		id = w.next
		w.next += 2
		w.headers(id, false, ":method", "POST", ":scheme", "http", ":path", path, ":authority", "localhost",
			"content-type", "application/grpc", "te", "trailers", "grpc-encoding", encoding, "user-agent", "soak/1",
			"authorization", "Bearer "+w.token)
		if finished {
			_ = w.framer.WriteData(id, true, body)
		} else {
			_ = w.framer.WriteData(id, false, body[:len(body)/2])
		}
	})
	counts.Calls.Add(1)
	return id
}

// await waits until so many streams have ended, or the connection has, and says how many did.
func (w *Wire) await(streams int) int {
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	for ended := 0; ended < streams; ended++ {
		select {
		case isOk, open := <-w.answers:
			if !open {
				return ended
			}
			if isOk {
				counts.Answered.Add(1)
			}
		case <-timer.C:
			counts.Failed.Add(1)
			return ended
		}
	}
	return streams
}
