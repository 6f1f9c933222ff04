package edge.example

import android.app.Activity
import android.content.Intent
import android.graphics.BitmapFactory
import android.os.Bundle
import android.widget.Button
import android.widget.ImageView
import android.widget.LinearLayout
import android.widget.TextView
// The model: for another release, its package and class. FashionResnet8CompiledClassifier runs on CompiledModel.
import edge.models.fashion_resnet8.FashionResnet8Classifier as Classifier

/** Choose a picture, and see the three likeliest classes. */
class MainActivity : Activity() {
    private lateinit var classifier: Classifier
    private lateinit var picture: ImageView
    private lateinit var answer: TextView

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        classifier = Classifier(this)
        picture = ImageView(this)
        answer = TextView(this)
        val choose = Button(this)
        choose.text = "Choose a picture"
        choose.setOnClickListener {
            startActivityForResult(Intent(Intent.ACTION_GET_CONTENT).setType("image/*"), PICTURE)
        }
        val column = LinearLayout(this)
        column.orientation = LinearLayout.VERTICAL
        column.fitsSystemWindows = true
        for (view in listOf(choose, answer, picture)) column.addView(view)
        setContentView(column)
    }

    @Deprecated("The replacement is in a library; this needs none.")
    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        val place = data?.data
        if (requestCode != PICTURE || resultCode != RESULT_OK || place == null) return
        val bitmap = contentResolver.openInputStream(place)?.use { BitmapFactory.decodeStream(it) }
        if (bitmap == null) {
            answer.text = "This file is not a picture."
            return
        }
        picture.setImageBitmap(bitmap)
        answer.text = classifier.classify(bitmap).joinToString("\n")
    }

    override fun onDestroy() {
        classifier.close()
        super.onDestroy()
    }

    private companion object {
        const val PICTURE = 1
    }
}
