package wire

import (
	"google.golang.org/grpc/stats"

	pb "github.com/captioner/captioner/internal/engine/enginepb"
)

// Traced reports whether a call has spans, on both sides: all but Info and those
// of the health service, which wait for the engine to be ready.
func Traced(call *stats.RPCTagInfo) bool {
	switch call.FullMethodName {
	case pb.Engine_Caption_FullMethodName, pb.Engine_ExtractFeatures_FullMethodName, pb.Engine_Train_FullMethodName:
		return true
	}
	return false
}
