package tracking

import (
	"bytes"
	"fmt"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wamuir/graft/tensorflow/core/framework/summary_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/tensor_shape_go_proto"
	"github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	"github.com/wamuir/graft/tensorflow/core/util/event_go_proto"
	"google.golang.org/protobuf/proto"

	"github.com/captioner/captioner"
	"github.com/captioner/captioner/internal/atomicfile"
)

// eventsPrefix begins the names of event files, by which TensorBoard knows them.
const eventsPrefix = "events.out.tfevents."

// eventLog is a TensorBoard event file, which grows.
type eventLog struct {
	files atomicfile.FileSystem
	dir   string
	file  *growing
}

type summaryValue = summary_go_proto.Summary_Value

// write appends events, or begins a new file with them where none is open and
// removes the ones before it.
func (l *eventLog) write(now time.Time, events []*event_go_proto.Event) error {
	if l.file == nil {
		return l.begin(now, events)
	}
	if len(events) == 0 {
		return nil
	}
	data, err := encodeEvents(nil, events)
	if err != nil {
		return err
	}
	return l.file.add(data)
}

// begin writes a new file, with a name after all earlier ones: a TensorBoard
// that reads the old one goes on with it, and forgets by the session's start
// what it had read.
func (l *eventLog) begin(now time.Time, events []*event_go_proto.Event) error {
	old, err := filepath.Glob(filepath.Join(l.dir, eventsPrefix+"*"))
	if err != nil {
		return err
	}
	number := now.UnixMilli()
	for _, path := range old {
		var before int64
		if _, err := fmt.Sscanf(filepath.Base(path), eventsPrefix+"%d", &before); err == nil {
			number = max(number, before+1)
		}
	}
	start := &event_go_proto.SessionLog{Status: event_go_proto.SessionLog_START}
	at := wallTime(now)
	if len(events) > 0 {
		at = events[0].WallTime
	}
	data, err := encodeEvents(nil, []*event_go_proto.Event{
		{WallTime: at, What: &event_go_proto.Event_FileVersion{FileVersion: "brain.Event:2"}},
		{WallTime: at, What: &event_go_proto.Event_SessionLog{SessionLog: start}},
	})
	if err == nil {
		data, err = encodeEvents(data, events)
	}
	if err != nil {
		return err
	}
	if l.file, err = grow(l.files, filepath.Join(l.dir, fmt.Sprintf("%s%013d.captioner", eventsPrefix, number)), data); err != nil {
		return err
	}
	for _, path := range old {
		_ = os.Remove(path) // what stays is shown twice, no more
	}
	return nil
}

func (l *eventLog) close() {
	if l.file != nil {
		l.file.close()
		l.file = nil
	}
}

func encodeEvents(file []byte, events []*event_go_proto.Event) ([]byte, error) {
	for _, e := range events {
		data, err := proto.Marshal(e)
		if err != nil {
			return nil, err
		}
		file = appendRecord(file, data)
	}
	return file, nil
}

func wallTime(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// event is one of a step.
func event(at time.Time, step int, values ...*summaryValue) *event_go_proto.Event {
	return &event_go_proto.Event{WallTime: wallTime(at), Step: int64(step), What: &event_go_proto.Event_Summary{
		Summary: &summary_go_proto.Summary{Value: values},
	}}
}

func scalar(tag string, value float64) *summaryValue {
	return &summaryValue{Tag: tag, Value: &summary_go_proto.Summary_Value_SimpleValue{SimpleValue: float32(value)}}
}

// text is a piece of Markdown.
func text(tag, markdown string) *summaryValue {
	return &summaryValue{
		Tag: tag,
		Metadata: &summary_go_proto.SummaryMetadata{
			PluginData: &summary_go_proto.SummaryMetadata_PluginData{PluginName: "text"},
			DataClass:  summary_go_proto.DataClass_DATA_CLASS_TENSOR,
		},
		Value: &summary_go_proto.Summary_Value_Tensor{Tensor: &tensor_go_proto.TensorProto{
			Dtype: types_go_proto.DataType_DT_STRING, TensorShape: &tensor_shape_go_proto.TensorShapeProto{},
			StringVal: [][]byte{[]byte(markdown)},
		}},
	}
}

// picture is a PNG file; nil for what is none.
func picture(tag string, data []byte) *summaryValue {
	size, err := png.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	return &summaryValue{Tag: tag, Value: &summary_go_proto.Summary_Value_Image{Image: &summary_go_proto.Summary_Image{
		Height: int32(size.Height), Width: int32(size.Width), Colorspace: 3, EncodedImageString: data,
	}}}
}

// rowEvents are the scalars of the rows, an event for each.
func rowEvents(rows []row) []*event_go_proto.Event {
	var events []*event_go_proto.Event
	for _, r := range rows {
		var values []*summaryValue
		for _, name := range slices.Sorted(maps.Keys(r.values)) {
			values = append(values, scalar(name, r.values[name]))
		}
		events = append(events, event(r.time, r.step, values...))
	}
	return events
}

// sampleEvents show each epoch's samples: a table of what the model says, and
// the pictures of which it says something else than before, as show gives them.
func sampleEvents(samples []captioner.Sample, show func(captioner.Sample) []byte) []*event_go_proto.Event {
	var events []*event_go_proto.Event
	for len(samples) > 0 {
		n := 1
		for n < len(samples) && samples[n].Step == samples[0].Step {
			n++
		}
		epoch := samples[:n]
		samples = samples[n:]
		table := "| picture | caption | reference |\n| --- | --- | --- |\n"
		var values []*summaryValue
		for _, s := range epoch {
			table += fmt.Sprintf("| %s | %s | %s |\n", cell(s.Image), cell(s.Caption), cell(s.Reference))
			if shown := picture("samples/"+s.Image, show(s)); shown != nil {
				values = append(values, shown)
			}
		}
		values = append(values, text("samples", table))
		events = append(events, event(epoch[0].Time, epoch[0].Step, values...))
	}
	return events
}

// cell escapes what would end a cell of a table or begin a tag.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ", "<", "&lt;").Replace(s)
}

// scoreEvents are the scores of the test split, beside the last step.
func scoreEvents(at time.Time, step int, e captioner.Evaluation) []*event_go_proto.Event {
	scores := Scores(e)
	if len(scores) == 0 {
		return nil
	}
	var values []*summaryValue
	for _, name := range slices.Sorted(maps.Keys(scores)) {
		values = append(values, scalar(name, scores[name]))
	}
	return []*event_go_proto.Event{event(at, step, values...)}
}
