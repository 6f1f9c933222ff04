package org.tensorflow.lite;

public final class Interpreter implements AutoCloseable {
    public static class Options { public Options setNumThreads(int threads) { return this; } }
    public Interpreter(java.nio.ByteBuffer model, Options options) {}
    public void close() {}
    public void resetVariableTensors() {}
    public void runForMultipleInputsOutputs(Object[] in, java.util.Map<Integer, Object> out) {}
}
