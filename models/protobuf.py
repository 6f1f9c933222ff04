"""The protocol buffers that models and data are stored in, with the fields that are read and no others."""

from __future__ import annotations

from functools import cache
from typing import Any

# Message -> its fields as "name=number:type"; a "*" stands for repeated, and a type may be another message.
# Text is bytes here, since nothing vouches for its encoding. A map is a repeated message of key and value.
_DECLARED = {
    # tensorflow/core/example/example.proto
    "Example": "features=1:Features",
    "Features": "feature=1:NamedFeature*",
    "NamedFeature": "key=1:bytes value=2:Feature",
    "Feature": "bytes_list=1:BytesList float_list=2:FloatList int64_list=3:Int64List",
    "BytesList": "value=1:bytes*",
    "FloatList": "value=1:float*",
    "Int64List": "value=1:int64*",
    # keras_metadata.pb of tf_keras; tensorflow/core/protobuf/saved_model.proto
    "SavedMetadata": "nodes=1:SavedKerasObject*",
    "SavedKerasObject": "node_id=2:int32 metadata=5:bytes",
    "SavedModel": "meta_graphs=2:MetaGraph*",
    "MetaGraph": "objects=7:SavedObjectGraph",
    "SavedObjectGraph": "nodes=1:SavedObject*",
    "SavedObject": "user_object=4:SavedUserObject",
    "SavedUserObject": "identifier=1:bytes metadata=3:bytes",
    # tensorflow/core/protobuf/tensor_bundle.proto and trackable_object_graph.proto
    "BundleHeader": "num_shards=1:int32 endianness=2:int32",
    "BundleEntry": "dtype=1:int32 shape=2:Shape offset=4:int64 size=5:int64",
    "Shape": "dim=2:Dimension*",
    "Dimension": "size=1:int64",
    "ObjectGraph": "nodes=1:TrackedObject*",
    "TrackedObject": "children=1:Child* attributes=2:Attribute*",
    "Child": "node_id=1:int32 local_name=2:bytes",
    "Attribute": "name=1:bytes checkpoint_key=3:bytes",
}


@cache
def _classes() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # 0.1 s, on first use

    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="models.proto", package="models", syntax="proto2")
    for name, declared in _DECLARED.items():
        made = file.message_type.add(name=name)
        for entry in declared.split():
            field, _, rest = entry.partition("=")
            number, _, kind = rest.rstrip("*").partition(":")
            label = field_type.LABEL_REPEATED if rest.endswith("*") else field_type.LABEL_OPTIONAL
            added = made.field.add(name=field, number=int(number), label=label)
            if kind in _DECLARED:
                added.type, added.type_name = field_type.TYPE_MESSAGE, f".models.{kind}"
            else:
                added.type = field_type.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"models.{name}"))
        for name in _DECLARED
    }


def parse(name: str, content: bytes) -> Any:
    """Return the message ``name`` that ``content`` holds.

    Raises:
        ValueError: it is damaged.
    """
    from google.protobuf import message

    try:
        return _classes()[name].FromString(content)
    except message.DecodeError as error:
        msg = f"no {name}, or a damaged one"
        raise ValueError(msg) from error
