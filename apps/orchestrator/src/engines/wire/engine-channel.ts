const MIB = 1 << 20;

/** The options of every channel to an engine. */
export const ENGINE_CHANNEL = {
  'grpc.max_receive_message_length': 64 * MIB,
  'grpc.max_send_message_length': 64 * MIB,
  'grpc-node.flow_control_window': 8 * MIB, // a state is sent at once, without a message back for each 64 KiB
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
};
