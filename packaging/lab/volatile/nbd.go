package volatile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

// The protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
// Fixed newstyle, simple replies, no forced unit access, so that the client
// has to flush.
const (
	magicServer  = 0x4e42444d41474943 // "NBDMAGIC"
	magicOption  = 0x49484156454f5054 // "IHAVEOPT"
	magicReply   = 0x0003e889045565a9
	magicRequest = 0x25609513
	magicSimple  = 0x67446698

	flagFixedNewstyle, flagNoZeroes = 1, 2
	flagHasFlags, flagSendFlush     = 1, 4

	optExportName, optAbort, optInfo, optGo = 1, 2, 6, 7
	repAck, repInfo, repUnsupported         = 1, 3, 1<<31 + 1
	infoExport                              = 0

	cmdRead, cmdWrite, cmdDisconnect, cmdFlush = 0, 1, 2, 3
	errnoInvalid                               = 22

	maxLength = 64 << 20
)

// Serve speaks NBD on a connection until the client goes.
func (d *Disk) Serve(conn net.Conn) error {
	defer conn.Close()
	err := d.negotiate(conn)
	if err == nil {
		err = d.transmit(conn)
	}
	for _, gone := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.EPIPE, syscall.ECONNRESET} {
		if errors.Is(err, gone) {
			return nil
		}
	}
	return err
}

func write(w io.Writer, values ...any) error {
	var buf []byte
	for _, v := range values {
		var err error
		if buf, err = binary.Append(buf, binary.BigEndian, v); err != nil {
			return err
		}
	}
	_, err := w.Write(buf)
	return err
}

func (d *Disk) negotiate(conn net.Conn) error {
	if err := write(conn, uint64(magicServer), uint64(magicOption), uint16(flagFixedNewstyle|flagNoZeroes)); err != nil {
		return err
	}
	var client uint32
	if err := binary.Read(conn, binary.BigEndian, &client); err != nil {
		return err
	}
	for {
		var option struct {
			Magic          uint64
			Option, Length uint32
		}
		if err := binary.Read(conn, binary.BigEndian, &option); err != nil {
			return err
		}
		if option.Magic != magicOption || option.Length > 1<<16 {
			return fmt.Errorf("volatile: not an NBD option: %+v", option)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(option.Length)); err != nil {
			return err
		}
		reply := func(kind uint32, data ...byte) error {
			return write(conn, uint64(magicReply), option.Option, kind, uint32(len(data)), data) // #nosec G115 -- a few bytes
		}
		size := binary.BigEndian.AppendUint64(nil, uint64(d.Size())) // #nosec G115 -- a size
		export := binary.BigEndian.AppendUint16(size, flagHasFlags|flagSendFlush)
		switch option.Option {
		case optExportName:
			if client&flagNoZeroes == 0 {
				export = append(export, make([]byte, 124)...)
			}
			return write(conn, export)
		case optGo, optInfo:
			if err := errors.Join(reply(repInfo, append([]byte{0, infoExport}, export...)...), reply(repAck)); err != nil {
				return err
			}
			if option.Option == optGo {
				return nil
			}
		case optAbort:
			return errors.Join(reply(repAck), io.EOF)
		default:
			if err := reply(repUnsupported); err != nil {
				return err
			}
		}
	}
}

func (d *Disk) transmit(conn net.Conn) error {
	for {
		var r struct {
			Magic       uint32
			Flags, Type uint16
			Cookie      uint64
			Offset      int64
			Length      uint32
		}
		if err := binary.Read(conn, binary.BigEndian, &r); err != nil {
			return err
		}
		if r.Magic != magicRequest || r.Length > maxLength {
			return fmt.Errorf("volatile: not an NBD request: %+v", r)
		}
		var errno uint32
		var data []byte
		switch r.Type {
		case cmdRead:
			data = make([]byte, r.Length)
			if _, err := d.ReadAt(data, r.Offset); err != nil {
				errno, data = errnoInvalid, nil
			}
		case cmdWrite:
			in := make([]byte, r.Length)
			if _, err := io.ReadFull(conn, in); err != nil {
				return err // a write that was cut in two never happened
			}
			if _, err := d.WriteAt(in, r.Offset); err != nil {
				errno = errnoInvalid
			}
		case cmdFlush:
			d.Flush()
		case cmdDisconnect:
			return nil
		default:
			errno = errnoInvalid
		}
		if err := write(conn, uint32(magicSimple), errno, r.Cookie, data); err != nil {
			return err
		}
	}
}
