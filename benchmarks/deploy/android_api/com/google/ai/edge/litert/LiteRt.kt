package com.google.ai.edge.litert

import android.content.res.AssetManager

enum class Accelerator { NONE, CPU, GPU, NPU }

class TensorBuffer internal constructor() : AutoCloseable {
    fun writeInt(data: IntArray) {}
    fun writeFloat(data: FloatArray) {}
    fun writeInt8(data: ByteArray) {}
    fun readInt(): IntArray = intArrayOf()
    fun readFloat(): FloatArray = floatArrayOf()
    fun readInt8(): ByteArray = byteArrayOf()
    override fun close() {}
}

class Environment private constructor()

class CompiledModel private constructor() : AutoCloseable {
    class Options constructor(internal vararg val accelerators: Accelerator) {
        companion object { @JvmStatic val CPU = Options(Accelerator.CPU) }
    }
    @JvmOverloads fun createInputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = listOf()
    @JvmOverloads fun createOutputBuffers(signatureIndex: Int = 0): List<TensorBuffer> = listOf()
    @JvmOverloads fun run(inputs: List<TensorBuffer>, outputs: List<TensorBuffer>, signatureIndex: Int = 0) {}
    override fun close() {}
    companion object {
        @JvmOverloads @JvmStatic
        fun create(
            assetManager: AssetManager, assetName: String, options: Options = Options.CPU, env: Environment? = null,
        ): CompiledModel = CompiledModel()
    }
}
